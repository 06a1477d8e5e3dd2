import { type FileHandle, mkdir, open } from 'node:fs/promises';
import path from 'node:path';

/** An NDJSON file that is only ever appended to. Lines are kept back until `flush`. */
export interface LineFile {
  push(value: unknown): void;
  flush(): Promise<void>;
  close(): Promise<void>;
}

export const openLineFile = async (file: string): Promise<LineFile> => {
  await mkdir(path.dirname(file), { recursive: true });
  const handle: FileHandle = await open(file, 'a', 0o600);
  let lines: string[] = [];
  let writing = Promise.resolve();
  const flush = (): Promise<void> => {
    const text = lines.join('');
    lines = [];
    // One after another: two appends under way at once could change places.
    if (text !== '') writing = writing.then(() => handle.appendFile(text));
    return writing;
  };
  return {
    push(value) {
      lines.push(`${JSON.stringify(value)}\n`);
    },
    flush,
    async close() {
      await flush();
      await handle.close();
    },
  };
};
