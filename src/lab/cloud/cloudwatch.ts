import type { Clock } from '../../core/clock.ts';
import { AwsError } from './aws-error.ts';
import { decodeCbor, encodeCbor } from './cbor.ts';
import { type AwsRequest, jsonResponse, pageOf, type Service } from './protocol.ts';
import type { Alarm, AlarmState, RegionWorld, World } from './world.ts';

type Input = Readonly<Record<string, unknown>>;

interface Call {
  readonly region: RegionWorld;
  readonly clock: Clock;
  readonly input: Input;
  onAlarm(alarm: Alarm): void;
}

/** Instants in an answer; how they are written is the protocol's affair. */
const dateOf = (ms: number): Date => new Date(ms);

const states: readonly string[] = ['OK', 'ALARM', 'INSUFFICIENT_DATA'];
const isState = (value: unknown): value is AlarmState => typeof value === 'string' && states.includes(value);

const invalid = (message: string): AwsError => new AwsError(400, 'ValidationError', message);

const textList = (input: Input, name: string): readonly string[] | undefined => {
  const value = input[name];
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  throw invalid(`${name} must be a list of strings`);
};

const refuseUnknown = (input: Input, known: readonly string[]): void => {
  const unknown = Object.keys(input).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`Unknown member ${unknown}`);
};

const describeAlarms = ({ region, input }: Call): unknown => {
  const known = [
    'AlarmNames',
    'AlarmNamePrefix',
    'AlarmTypes',
    'StateValue',
    'ActionPrefix',
    'MaxRecords',
    'NextToken',
  ];
  refuseUnknown(input, known);
  const names = textList(input, 'AlarmNames');
  const { AlarmNamePrefix: start, StateValue: state, MaxRecords: max = 50, NextToken: token } = input;
  const types = textList(input, 'AlarmTypes');
  const found = [...region.alarms.values()].filter(
    (alarm) =>
      (types === undefined || types.includes('MetricAlarm')) &&
      (names === undefined || names.includes(alarm.name)) &&
      (typeof start !== 'string' || alarm.name.startsWith(start)) &&
      (state === undefined || alarm.state === state),
  );
  const page = pageOf(found, typeof max === 'number' ? max : 50, typeof token === 'string' ? token : undefined);
  if (page === undefined) throw new AwsError(400, 'InvalidNextToken', 'The next token specified is invalid.');
  return {
    MetricAlarms: page.items.map((alarm) => ({
      AlarmName: alarm.name,
      AlarmArn: alarm.arn,
      ActionsEnabled: true,
      OKActions: [],
      AlarmActions: [],
      InsufficientDataActions: [],
      StateValue: alarm.state,
      StateReason: alarm.reason,
      StateUpdatedTimestamp: dateOf(alarm.updatedAtMs),
      Dimensions: [],
      EvaluationPeriods: 1,
    })),
    CompositeAlarms: [],
    ...(page.next === undefined ? {} : { NextToken: page.next }),
  };
};

const setAlarmState = ({ region, clock, input, onAlarm }: Call): unknown => {
  refuseUnknown(input, ['AlarmName', 'StateValue', 'StateReason', 'StateReasonData']);
  const { AlarmName: name, StateValue: state, StateReason: reason } = input;
  if (typeof name !== 'string' || typeof reason !== 'string') throw invalid('AlarmName and StateReason are required');
  if (!isState(state)) throw invalid(`StateValue must be one of ${states.join(', ')}`);
  const alarm = region.alarms.get(name);
  if (alarm === undefined) throw new AwsError(404, 'ResourceNotFound', `Alarm ${name} does not exist`);
  Object.assign(alarm, { state, reason, updatedAtMs: clock.nowMs() });
  onAlarm(alarm);
  return {};
};

const operations: Readonly<Record<string, (call: Call) => unknown>> = {
  DescribeAlarms: describeAlarms,
  SetAlarmState: setAlarmState,
};

/** The SDK speaks awsJson1_0, the CLI smithy-rpc-v2-cbor; operation and input of either. */
const readCall = (request: AwsRequest): { readonly name: string; readonly input: Input; readonly isCbor: boolean } => {
  const path = /^\/service\/[\w.]+\/operation\/(\w+)$/.exec(request.path);
  const isCbor = path !== null;
  const name =
    path?.[1] ??
    String(request.headers['x-amz-target'] ?? '')
      .split('.')
      .at(-1) ??
    '';
  let value: unknown;
  try {
    if (request.body.length === 0) value = {};
    else value = isCbor ? decodeCbor(request.body) : JSON.parse(request.body.toString('utf8'));
  } catch {
    throw new AwsError(400, 'SerializationException', 'The request body cannot be read.');
  }
  if (typeof value !== 'object' || value === null)
    throw new AwsError(400, 'SerializationException', 'Not a structure.');
  return { name, input: Object.fromEntries(Object.entries(value)), isCbor };
};

const cborHeaders = { 'content-type': 'application/cbor', 'smithy-protocol': 'rpc-v2-cbor' };
const jsonHeaders = { 'content-type': 'application/x-amz-json-1.0' };

/** JSON writes instants as epoch seconds. */
const jsonReady = (value: unknown): unknown => {
  if (value instanceof Date) return value.getTime() / 1000;
  if (Array.isArray(value)) return value.map(jsonReady);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, jsonReady(one)]));
};

/** CloudWatch alarms: those that stop FIS experiments. Nothing evaluates them here; SetAlarmState is how they fire. */
export const createCloudWatch = (
  world: World,
  clock: Clock,
  onAlarm: (region: string, alarm: Alarm) => void,
): Service => ({
  refuse(error, { headers }) {
    const value = { __type: error.code, message: error.message };
    if (headers['smithy-protocol'] !== 'rpc-v2-cbor') return jsonResponse(value, error.status, jsonHeaders);
    return { status: error.status, headers: cborHeaders, body: encodeCbor(value) };
  },
  async answer(request) {
    const { name, input, isCbor } = readCall(request);
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    const region = world.regions.get(request.region);
    if (operation === undefined) throw new AwsError(400, 'UnknownOperationException', `There is no operation ${name}.`);
    if (region === undefined) throw invalid(`There is no CloudWatch in ${request.region}.`);
    const output = operation({ region, clock, input, onAlarm: (alarm) => onAlarm(region.name, alarm) });
    if (isCbor) return { status: 200, headers: cborHeaders, body: encodeCbor(output) };
    return jsonResponse(jsonReady(output), 200, jsonHeaders);
  },
});
