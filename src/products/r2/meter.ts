/** Where a bucket's use is counted. */
import type { BucketCounts } from '../../state/bucket-usage.ts';
import type { Bucket } from './documents.ts';

export interface Meter {
  count(bucket: Pick<Bucket, 'accountId' | 'id' | 'name'>, counts: Partial<BucketCounts>): void;
}
