import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { type AwsStandIn, startAws } from '../../testing/aws.ts';
import { itWith } from '../../testing/needs.ts';
import { labEnvironment } from '../testing.ts';

const isPresent = (() => {
  try {
    execFileSync('aws', ['--version'], { stdio: 'ignore', timeout: 30_000 });
    return true;
  } catch {
    return false;
  }
})();

const it = itWith('the AWS CLI', isPresent);
const environment = labEnvironment();
let aws: AwsStandIn;
beforeAll(async () => {
  aws = await startAws(environment, 600);
});
afterAll(() => aws.stop());

const run = async (words: string, secret = aws.layout.token): Promise<string> => {
  const { stdout } = await promisify(execFile)('aws', [...words.split(' '), '--output', 'text'], {
    timeout: 60_000,
    env: {
      PATH: process.env['PATH'],
      HOME: aws.layout.stateDir,
      AWS_ENDPOINT_URL: aws.endpoint,
      AWS_ACCESS_KEY_ID: aws.layout.awsAccessKeyId,
      AWS_SECRET_ACCESS_KEY: secret,
      AWS_DEFAULT_REGION: 'us-west-2',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_PAGER: '',
    },
  });
  return stdout.trim();
};

describe('the official AWS CLI, unmodified', () => {
  it('works with every service of the lab', async () => {
    const answers = await Promise.all([
      run('sts get-caller-identity --query Account'),
      run('ec2 describe-subnets --filters Name=availability-zone,Values=us-west-2a --query Subnets[].AvailabilityZone'),
      run('rds describe-db-instances --query DBInstances[].DBInstanceIdentifier'),
      run('route53 list-health-checks --query HealthChecks[].HealthCheckConfig.FullyQualifiedDomainName'),
      run('fis list-actions --query actions[0].id'),
      run('cloudwatch describe-alarms --query MetricAlarms[].[AlarmName,StateValue]'),
    ]);
    expect(answers).toEqual([
      environment.aws.account,
      'us-west-2a',
      'conversations-us-west-2',
      'us-west-2.api.platform.lab\tus-east-1.api.platform.lab\teu-central-1.api.platform.lab',
      'aws:network:disrupt-connectivity',
      'blackstart-stop\tOK',
    ]);
  });

  it('is told when its keys are wrong', async () => {
    await expect(run('rds describe-db-instances', 'wrong')).rejects.toThrow(/SignatureDoesNotMatch/);
    await expect(run('fis list-actions', 'wrong')).rejects.toThrow(/InvalidSignatureException/);
    await expect(run('ec2 describe-subnets', 'wrong')).rejects.toThrow(/SignatureDoesNotMatch/);
  });
});
