import { Server, ServerCredentials } from '@grpc/grpc-js';

/** A real server on a port of its own. */
export async function serve(add: (server: Server) => void): Promise<{ port: number; target: string; server: Server }> {
  const server = new Server();
  add(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return { port, target: `127.0.0.1:${port}`, server };
}
