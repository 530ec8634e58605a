import { type ChannelOptions, experimental } from '@grpc/grpc-js';
import type { Random } from '../domain/clock.js';

/**
 * A load balancing policy for streams: pick_first over the addresses behind the target, in an order that the SDK chooses. It exists for two
 * reasons. The `shuffleAddressList` of grpc-js never exchanges the first two addresses (1.14.7: its loop ends at index 2), so every stream to a
 * name with two addresses goes to the same one. And pick_first cannot be told which address to try last.
 *
 * The order travels as a channel option, because a service config is JSON and cannot hold a function.
 */
const POLICY = 'muster_pick_in_order';
const ORDER = 'muster.pick_order';

const PICK_FIRST = experimental.parseLoadBalancingConfig({ pick_first: {} });

type Endpoints = Parameters<experimental.LoadBalancer['updateAddressList']>[0];

class PickInOrder extends experimental.ChildLoadBalancerHandler implements experimental.LoadBalancer {
  override updateAddressList(endpoints: Endpoints, _config: unknown, options: ChannelOptions, note: string): boolean {
    const order = options[ORDER] as ((endpoints: experimental.Endpoint[]) => experimental.Endpoint[]) | undefined;
    const ordered = endpoints.ok && order !== undefined ? experimental.statusOrFromValue(order(endpoints.value)) : endpoints;
    return super.updateAddressList(ordered, PICK_FIRST, options, note);
  }

  override getTypeName(): string {
    return POLICY;
  }
}

class PickInOrderConfig implements experimental.TypedLoadBalancingConfig {
  static createFromJson(): PickInOrderConfig {
    return new PickInOrderConfig();
  }

  getLoadBalancerName(): string {
    return POLICY;
  }

  toJsonObject(): object {
    return { [POLICY]: {} };
  }
}

experimental.registerLoadBalancerType(POLICY, PickInOrder, PickInOrderConfig);

/** Options of a channel that connects to one address of its target: a random one, and one of `avoid` (`host:port`) only if no other takes it. */
export function pickOne(random: Random, avoid: ReadonlySet<string>): ChannelOptions {
  const order = (endpoints: experimental.Endpoint[]) => {
    const keyed = endpoints.map((endpoint) => ({ endpoint, at: (isAvoided(endpoint, avoid) ? 1 : 0) + random() }));
    return keyed.sort((a, b) => a.at - b.at).map(({ endpoint }) => endpoint);
  };
  return { 'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ [POLICY]: {} }] }), [ORDER]: order };
}

function isAvoided({ addresses }: experimental.Endpoint, avoid: ReadonlySet<string>): boolean {
  return addresses.some((address) => avoid.has(experimental.subchannelAddressToString(address)));
}
