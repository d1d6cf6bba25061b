/**
 * The PoP's memory of the ledger: what edges and data processes may know (`docs`) and the whole scripts and versions, which
 * only the supervisor needs. Fed by `supervisor.ts`; reading it never waits.
 */
import type { Script, Version } from '../model/documents.ts';
import { toEdgeChange } from '../model/edge-docs.ts';
import { keys } from '../model/keys.ts';
import type { EdgeChange } from '../model/messages.ts';
import type { Change } from '../state/ledger.ts';

export class Follower {
  /** Ledger key -> what the edges were told. */
  readonly docs = new Map<string, EdgeChange>();
  /** Ledger key -> script. */
  readonly scripts = new Map<string, Script>();
  /** Version id -> version. */
  readonly versions = new Map<string, Version>();
  sequence = 0;

  /** Remembers one write. Returns what the edges have to be told, or null. */
  apply(change: Change): EdgeChange | null {
    this.sequence = Math.max(this.sequence, change.sequence);
    const { key, value } = change;
    if (key.startsWith(keys.scripts())) {
      if (value === null) this.scripts.delete(key);
      else this.scripts.set(key, value as Script);
    } else if (key.startsWith(keys.versions())) {
      if (value === null) this.versions.delete(key.slice(key.lastIndexOf('/') + 1));
      else this.versions.set((value as Version).id, value as Version);
    }
    return toEdgeChange(key, value);
  }

  /** Remembers that the edges were told; a deletion is forgotten. */
  told(change: EdgeChange): void {
    if (change.doc === null) this.docs.delete(change.key);
    else this.docs.set(change.key, change);
  }

  script(accountId: string, name: string): Script | undefined {
    return this.scripts.get(keys.script(accountId, name));
  }

  /** Versions of a script that get traffic, without those of assets only (they need no process). */
  deployedVersions(script: Script | undefined): Version[] {
    const shares = script?.deployment?.versions ?? [];
    return shares
      .filter((share) => share.percentage > 0)
      .map((share) => this.versions.get(share.versionId))
      .filter((version): version is Version => version !== undefined && version.modules.length > 0);
  }

  /** The deployed version that runs the Durable Objects of a namespace. */
  versionWithObjects(accountId: string, namespace: string): Version | undefined {
    for (const script of this.scripts.values()) {
      if (script.accountId !== accountId) continue;
      if (script.objects?.namespaces.some(({ id }) => id === namespace)) return this.deployedVersions(script)[0];
    }
    return undefined;
  }

  isDeployed(version: Version): boolean {
    return this.deployedVersions(this.script(version.accountId, version.script)).some(({ id }) => id === version.id);
  }
}
