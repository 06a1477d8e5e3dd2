import { AwsError } from './aws-error.ts';
import { parseForm } from './form.ts';
import { refuseQuery, type Service, xmlResponse } from './protocol.ts';

const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/';

/** STS: who am I. The first thing many tools ask. */
export const createSts = (account: string): Service => ({
  refuse: refuseQuery,
  async answer({ method, query, body, requestId }) {
    const form = parseForm(method === 'GET' ? query.toString() : body.toString('utf8'));
    const action = form.text('Action') ?? '';
    if (action !== 'GetCallerIdentity') throw new AwsError(400, 'InvalidAction', `Could not find operation ${action}.`);
    const result = { Arn: `arn:aws:iam::${account}:user/operator`, UserId: 'AIDALABOPERATOR', Account: account };
    return xmlResponse(
      `${action}Response`,
      { [`${action}Result`]: result, ResponseMetadata: { RequestId: requestId } },
      { namespace },
    );
  },
});
