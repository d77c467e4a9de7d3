// Curves over time: the voxel under the cursor, the blood of the input function now and as it was published.

const MARGIN = { left: 8, right: 8, top: 22, bottom: 20 };

export class Plot {
  constructor(onFrame) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "plot";
    this.curves = [];
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.pick(event, onFrame);
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.pick(event, onFrame));
  }

  pick(event, onFrame) {
    const bounds = this.canvas.getBoundingClientRect();
    const share = (event.clientX - bounds.left - MARGIN.left) / (bounds.width - MARGIN.left - MARGIN.right);
    const time = this.start + share * (this.end - this.start);
    onFrame(this.times.reduce((best, t, i) => (Math.abs(t - time) < Math.abs(this.times[best] - time) ? i : best), 0));
  }

  // curves: [{ name, colour, times, values, dashed }], each on a scale of its own. times: of the frames.
  draw(curves, times, frame, leftOut) {
    Object.assign(this, { curves, times, start: times[0], end: times[times.length - 1] });
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const x = (t) => MARGIN.left + ((t - this.start) / (this.end - this.start || 1)) * (width - MARGIN.left - MARGIN.right);
    const style = getComputedStyle(this.canvas);
    context.fillStyle = style.getPropertyValue("--left-out");
    for (const index of leftOut) context.fillRect(x(times[index]) - 3, MARGIN.top, 6, height - MARGIN.top - MARGIN.bottom);
    context.strokeStyle = style.color;
    context.globalAlpha = 0.6;
    context.beginPath();
    context.moveTo(x(times[frame]), MARGIN.top);
    context.lineTo(x(times[frame]), height - MARGIN.bottom);
    context.stroke();
    context.globalAlpha = 1;
    let legend = MARGIN.left;
    context.font = "12px system-ui, sans-serif";
    for (const curve of curves) {
      const finite = curve.values.filter((v) => v !== null);
      const [low, high] = [Math.min(...finite), Math.max(...finite)];
      const y = (v) => height - MARGIN.bottom - ((v - low) / (high - low || 1)) * (height - MARGIN.top - MARGIN.bottom);
      context.strokeStyle = context.fillStyle = curve.colour;
      context.lineWidth = 1.75;
      context.setLineDash(curve.dashed ? [5, 4] : []);
      context.beginPath();
      curve.values.forEach((v, i) => v !== null && context.lineTo(x(curve.times[i]), y(v)));
      context.stroke();
      context.setLineDash([]);
      const text = `${curve.name}, peak ${Number(high.toPrecision(3))}`;
      context.fillText(text, legend, 14);
      legend += context.measureText(text).width + 16;
    }
    context.fillStyle = style.color;
    for (let t = Math.ceil(this.start / 10) * 10; t <= this.end; t += 10) context.fillText(`${t} s`, x(t) - 8, height - 5);
  }
}
