// Sends back what it gets, text as text and bytes as bytes.
export default {
  async fetch(request) {
    if (request.headers.get('upgrade') !== 'websocket')
      return new Response('A WebSocket is expected here.\n', { status: 426 });
    const [client, server] = Object.values(new WebSocketPair());
    // By default bytes come as a Blob, which can only be read later.
    server.binaryType = 'arraybuffer';
    server.accept();
    server.addEventListener('message', ({ data }) => server.send(data));
    server.addEventListener('close', ({ code, reason }) => server.close(code === 1005 ? 1000 : code, reason));
    return new Response(null, { status: 101, webSocket: client });
  },
};
