import { Gauge, type Registry } from 'prom-client';
import type { CertificateUse, Listener, Observer, TurnedAway } from '../../domain/observer.js';
import { Tally } from './tallies.js';

const TURNED_AWAY: readonly TurnedAway[] = ['full', 'tls', 'silent'];

/** What the sockets and certificates of a replica have to tell. */
export function edgeMetrics(registry: Registry): Pick<Observer, 'connections' | 'turnedAway' | 'certificate' | 'spared'> {
  const registers = [registry];
  const open = new Map<Listener, number>();
  new Gauge({
    name: 'muster_connections',
    help: 'Connections that are open at GRPC_ADDR (grpc) and LEGACY_ADDR (legacy), whoever is on them',
    labelNames: ['listener'],
    registers,
    collect() {
      for (const [listener, n] of open) this.set({ listener }, n);
    },
  });
  const turnedAway = new Tally({
    ...{ name: 'muster_connections_refused_total', labels: ['listener', 'reason'], registry },
    help: 'Connections that were ended before any call. full: beyond MAX_CONNECTIONS; tls: no TLS, or not in time; silent: no HTTP/2 within PREFACE_MS',
  });
  const spared = new Tally({
    ...{ name: 'muster_workers_spared_total', registry },
    help: 'Times that a worker which was not trusted stayed suspect and was not buried, because nobody was met by TLS since DIAL_CA, DIAL_CERT and DIAL_KEY were read',
  });
  const expiries = new Map<CertificateUse, number>();
  new Gauge({
    name: 'muster_tls_certificate_expiry_timestamp_seconds',
    help: 'When the certificate expires that clients and workers are shown (server: TLS_CERT) or dialed workers are (dial: DIAL_CERT), in seconds since 1970',
    labelNames: ['use'],
    registers,
    collect() {
      for (const [use, at] of expiries) this.set({ use }, at / 1_000);
    },
  });
  return {
    connections: (listener, n) => {
      // A rate needs its zero.
      if (!open.has(listener)) for (const why of TURNED_AWAY) turnedAway.of(listener, why);
      open.set(listener, n);
    },
    turnedAway: (listener, why) => {
      turnedAway.of(listener, why).n++;
    },
    spared: () => {
      spared.of().n++;
    },
    certificate: (use, expiresAt) => void expiries.set(use, expiresAt),
  };
}
