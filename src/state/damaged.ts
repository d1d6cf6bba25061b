/** A file of the data directory cannot be used. The message is one sentence for the operator. */
export class DamagedState extends Error {
  override name = 'DamagedState';
  constructor(path: string, why: string) {
    super(`${path} is damaged or not Selvedge's (${why}); restore it from a backup or choose another --data directory`);
  }
}
