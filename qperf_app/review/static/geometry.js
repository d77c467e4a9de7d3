// Curves, masks and pixels. Points are [column, row] with pixel centres at whole numbers. What a curve is decides the
// server: it sends the weights of the handles around each span.

export function closedCurve(handles, weights) {
  const n = handles.length;
  const points = [];
  for (let i = 0; i < n; i++) {
    const around = [handles[(i + n - 1) % n], handles[i], handles[(i + 1) % n], handles[(i + 2) % n]];
    for (const w of weights) points.push([0, 1].map((axis) => around.reduce((sum, p, k) => sum + w[k] * p[axis], 0)));
  }
  return points;
}

export function pixelsOf(runs, columns) {
  const pixels = [];
  for (let i = 0; i < runs.length; i += 2)
    for (let k = 0; k < runs[i + 1]; k++) pixels.push([(runs[i] + k) % columns, Math.floor((runs[i] + k) / columns)]);
  return pixels;
}

export const circle = ([x, y], radius, spacing, count = 12) =>
  Array.from({ length: count }, (_, i) => {
    const angle = (2 * Math.PI * i) / count;
    return [x + (radius * Math.cos(angle)) / spacing[1], y + (radius * Math.sin(angle)) / spacing[0]];
  });

// Index of the handle whose span a point lies on.
export function spanAt(curve, point, perSpan) {
  let best = 0;
  for (let i = 1; i < curve.length; i++) if (square(curve[i], point) < square(curve[best], point)) best = i;
  return Math.floor(best / perSpan);
}

const square = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2;

export const bytesOf = (hex) => Uint8Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
