/** In which order servers are best asked, by distance on the globe. */

import type { Place } from './geo-database.ts';

/** On the unit sphere, in radians: the haversine formula. */
export function distance(a: Place, b: Place): number {
  const radians = Math.PI / 180;
  const [latitudeA, latitudeB] = [a.latitude * radians, b.latitude * radians];
  const sinLatitude = Math.sin((latitudeB - latitudeA) / 2);
  const sinLongitude = Math.sin(((b.longitude - a.longitude) * radians) / 2);
  const square = sinLatitude ** 2 + Math.cos(latitudeA) * Math.cos(latitudeB) * sinLongitude ** 2;
  return 2 * Math.asin(Math.min(1, Math.sqrt(square)));
}

/** Indexes of places, the nearest first; those equally far, and those not known, in the order given. */
export function orderByDistance(from: Place, places: readonly (Place | undefined)[]): number[] {
  const distances = places.map((place) =>
    place === undefined ? Number.POSITIVE_INFINITY : distance(from, place),
  );
  // Two that are both unknown are equal, although their difference is no number.
  return [...places.keys()].sort((a, b) =>
    distances[a] === distances[b] ? a - b : distances[a]! - distances[b]!,
  );
}
