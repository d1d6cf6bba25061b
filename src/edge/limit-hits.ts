/** How often each limit stopped a client: counted where it happens, told to the operator by the metrics. */
export type LimitName =
  | 'connections'
  | 'connections_per_address'
  | 'requests_per_connection'
  | 'header_count'
  | 'body_bytes'
  | 'stall_timeout_ms'
  | 'request_timeout_ms'
  | 'http2_resets_per_minute'
  | 'http2_control_frames_per_minute'
  | 'websocket_message_bytes'
  | 'websocket_idle_ms'
  | 'proxy_protocol'
  | 'tls_min_version'
  | 'malformed'
  | 'handshake';

export class LimitHits {
  #hits: Partial<Record<LimitName, number>> = {};

  hit(name: LimitName): void {
    this.#hits[name] = (this.#hits[name] ?? 0) + 1;
  }

  /** What was counted since the last call. */
  take(): Record<string, number> {
    const hits = this.#hits;
    this.#hits = {};
    return hits as Record<string, number>;
  }
}
