import { AwsError } from './aws-error.ts';
import { aclOperations } from './ec2-acls.ts';
import type { Ec2Operation } from './ec2-call.ts';
import { inventoryOperations } from './ec2-inventory.ts';
import { routeOperations } from './ec2-routes.ts';
import { parseForm } from './form.ts';
import { refuseEc2, type Service, xmlResponse } from './protocol.ts';
import type { World } from './world.ts';

const namespace = 'http://ec2.amazonaws.com/doc/2016-11-15/';

const operations: Readonly<Record<string, Ec2Operation>> = {
  ...inventoryOperations,
  ...aclOperations,
  ...routeOperations,
};

/** EC2 (query protocol, API version 2016-11-15): subnets, network ACLs, route tables, zones, tags. */
export const createEc2 = (world: World): Service => ({
  refuse: refuseEc2,
  async answer(request) {
    const form = parseForm(request.method === 'GET' ? request.query.toString() : request.body.toString('utf8'));
    const action = form.text('Action') ?? '';
    const operation = operations[action];
    if (operation === undefined) {
      throw new AwsError(400, 'InvalidAction', `The action ${action} is not valid for this web service.`);
    }
    const region = world.regions.get(request.region);
    if (region === undefined) throw new AwsError(400, 'InvalidRegion', `The region ${request.region} does not exist`);
    const isDryRun = form.flag('DryRun') === true;
    const perform = operation({ form, region, world });
    form.refuseUnknown();
    if (isDryRun) {
      throw new AwsError(412, 'DryRunOperation', 'Request would have succeeded, but DryRun flag is set.');
    }
    const result = await perform();
    return xmlResponse(`${action}Response`, { requestId: request.requestId, ...result }, { namespace });
  },
});
