'use strict';
// Draws the charts of the overview with uPlot, in the colours of the page.
(() => {
  const colour = (name) => {
    const probe = document.createElement('i');
    probe.className = `chart-${name}`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const draw = (box) => {
    box.dataset.drawn = '';
    const at = JSON.parse(box.dataset.at);
    const values = JSON.parse(box.dataset.values);
    const goal = box.dataset.goal === '' ? null : Number(box.dataset.goal);
    const [quiet, line, accent, warn] = ['quiet', 'line', 'accent', 'warn'].map(colour);
    const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: '11px system-ui' };
    const series = [{}, {
      label: 'value', stroke: accent, width: 1.5, points: { show: at.length < 3 },
      value: (_, one) => (one == null ? '–' : `${Number(one.toPrecision(4))} ${box.dataset.unit}`),
    }];
    const data = [at, values];
    if (goal !== null) {
      series.push({ label: 'goal', stroke: warn, width: 1, dash: [4, 4], points: { show: false } });
      data.push(at.map(() => goal));
    }
    const range = goal === null ? { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } : { range: (_, low) => [Math.min(low ?? 90, 90), 100] };
    const chart = new uPlot({
      width: box.clientWidth, height: 150, series, axes: [axis, { ...axis, size: 46 }],
      scales: { x: { range: () => [at[0], at[at.length - 1]] }, y: range }, cursor: { y: false }, legend: { show: true, live: true },
    }, data, box);
    new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height: 150 })).observe(box);
  };
  const all = () => document.querySelectorAll('.chart[data-at]:not([data-drawn])').forEach(draw);
  new MutationObserver(all).observe(document.body, { childList: true, subtree: true });
  all();
})();
