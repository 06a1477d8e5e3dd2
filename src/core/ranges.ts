/** The text form of a set of numbers: short when most are there. */
export const toRanges = (numbers: Iterable<number>): string => {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const ranges: string[] = [];
  for (let start = 0; start < sorted.length; ) {
    let end = start;
    while (end + 1 < sorted.length && sorted[end + 1] === (sorted[end] ?? 0) + 1) end += 1;
    ranges.push(start === end ? `${sorted[start]}` : `${sorted[start]}-${sorted[end]}`);
    start = end + 1;
  }
  return ranges.join(',');
};

export const fromRanges = (text: string): Set<number> => {
  const numbers = new Set<number>();
  for (const range of text === '' ? [] : text.split(',')) {
    const [from = '0', to = from] = range.split('-');
    for (let number = Number(from); number <= Number(to); number += 1) numbers.add(number);
  }
  return numbers;
};
