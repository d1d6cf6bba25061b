/** Where the process that serves R2 listens for the edges, in the run directory. */
import { join } from 'node:path';

export function storageSockets(runDir: string) {
  return {
    /** The S3 API. */
    s3: join(runDir, 's3.sock'),
    /** Objects of public buckets. */
    public: join(runDir, 'r2.sock'),
  };
}

/** Header in which the edge says whose bucket it asks for: "<account id>/<name>/<bucket id>". It removes what clients send under this name. */
export const BUCKET_OF_HEADER = 'selvedge-bucket';
