// The interactive page: reads cycles and energies of single batches from the tables that the page holds (see _explorer.py),
// counts the batches of a schedule as LadderSchedule does, and shows what acc.simulate gives for the same setting.
(() => {
  const element = (name) => document.getElementById(`explorer-${name}`);
  const data = JSON.parse(element("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const cycles = floats(data.cycles), energy = floats(data.energy), area = floats(data.area);
  const plainCycles = floats(data.plainCycles), plainArray = bytes(data.plainArray);
  const sizes = [data.arrays, data.buffers, data.batches, data.dataflows, data.bandwidths].map((axis) => axis.length);

  /** Place of an entry in a table whose axes have these lengths. */
  const place = (at, lengths) => at.reduce((found, index, axis) => found * lengths[axis] + index, 0);
  const times = (value) => `${value.toFixed(2)} times`;
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const chosen = () => {
    const names = ["network", "dataset", "array", "buffer", "batch", "dataflow", "bandwidth", "design", "ratio"];
    const found = Object.fromEntries(names.map((name) => [name, element(name).value]));
    return { ...found, epochs: +element("epochs").value, warmUp: +element("warm-up").value };
  };

  /** Batches of a training, and how many of them are of Phase GP. */
  const batches = (samples, now) => {
    const each = Math.ceil(samples / now.batch);
    const ladder = now.ratio === "ladder";
    const final = ladder ? data.final : now.ratio.split(":").map(Number);
    const rungs = [...(ladder ? data.rungs : []), [Infinity, ...final]];
    let left = Math.max(0, now.epochs - now.warmUp), gp = 0;
    for (const [length, ofGP, ofBP] of rungs) {
      const epochs = Math.min(left, length), group = ofGP + ofBP;
      gp += epochs * (Math.floor(each / group) * ofGP + Math.min(each % group, ofGP));
      left -= epochs;
    }
    return { all: each * now.epochs, gp };
  };

  /** Speed-up, energy saving and area of a design, and the plain array of that area. */
  const figures = (work, now, design, count) => {
    const at = [
      work, data.arrays.indexOf(now.array), data.buffers.indexOf(+now.buffer), data.batches.indexOf(+now.batch),
      data.dataflows.indexOf(now.dataflow),
    ];
    const lengths = [data.works.length, ...sizes.slice(0, 4)];
    const rate = data.bandwidths.indexOf(+now.bandwidth), d = data.designs.indexOf(design);
    const run = (name, phase) => data.runs.findIndex((known) => known[0] === name && known[1] === phase);
    const one = (name, phase) => {
      const run_ = run(name, phase), many = data.runs.length;
      return {
        cycles: cycles[place([...at, rate, run_], [...lengths, sizes[4], many])],
        energy: energy[place([...at, run_], [...lengths, many])],
      };
    };
    const base = one("baseline", "bp"), bp = one(design, "bp"), gp = one(design, "gp"), share = count.gp / count.all;
    const mean = (name) => (1 - share) * bp[name] + share * gp[name];
    const spot = place([...at, rate, d], [...lengths, sizes[4], data.designs.length]);
    const room = (number) =>
      area[place([at[1], at[2], at[4], rate, number], [sizes[0], sizes[1], sizes[3], sizes[4], data.designs.length + 1])];
    return {
      design, speedup: base.cycles / mean("cycles"), saving: 1 - mean("energy") / base.energy, area: room(d + 1),
      more: room(d + 1) / room(0) - 1, plain: base.cycles / plainCycles[spot],
      array: [plainArray[2 * spot], plainArray[2 * spot + 1]],
    };
  };

  const call = (now) => {
    const [rows, cols] = now.array.split("x");
    const ladder = now.ratio === "ladder" ? "" : `, rungs=(), final=(${now.ratio.replace(":", ", ")})`;
    return [
      "import adagp",
      "from adagp import accelerator as acc",
      "",
      "report = acc.simulate(",
      `    acc.workload("${now.network}", dataset="${now.dataset}", batch=${now.batch}),`,
      `    design="${now.design}",`,
      `    dataflow="${now.dataflow}",`,
      `    hardware=acc.Hardware(rows=${rows}, cols=${cols}, buffer_bytes=${now.buffer}, dram_bytes_per_s=${now.bandwidth}),`,
      `    schedule=adagp.LadderSchedule(warm_up_epochs=${now.warmUp}${ladder}),`,
      `    epochs=${now.epochs},`,
      ")",
      "report.speedup, report.energy_saving",
    ].join("\n");
  };

  const node = (kind, text, style = {}) => {
    const made = document.createElement(kind);
    made.textContent = text;
    Object.assign(made.style, style);
    return made;
  };

  const showResult = (found, count) => {
    const searched = found.plain > 0;
    const facts = {
      "Speed-up": times(found.speedup), "Energy saved": percent(found.saving),
      "Area": `${found.area.toFixed(2)} mm² (+${percent(found.more)})`, "Batches of Phase GP": percent(count.gp / count.all),
      "Plain array of this area": searched ? `${found.array.join(" x ")}: ${times(found.plain)}` : "not searched",
      "Design over that array": searched ? times(found.speedup / found.plain) : "not searched",
    };
    const list = node("dl", "");
    for (const [name, value] of Object.entries(facts)) {
      const pair = node("div", "");
      pair.append(node("dt", name), node("dd", value));
      list.append(pair);
    }
    element("result").replaceChildren(list);
  };

  const showBars = (now, all) => {
    const values = all.flatMap((found) => [found.speedup, found.plain]);
    const most = Math.max(1, ...values);
    const bar = (value, color, text) => {
      const row = node("div", "");
      row.className = "explorer-bar";
      row.append(node("span", "", { width: `${(60 * value) / most}%`, background: color }), node("span", text));
      return row;
    };
    element("bars").replaceChildren(
      ...all.map((found) => {
        const group = node("div", "");
        const title = `${data.titles[found.design]}, ${found.area.toFixed(2)} mm²`;
        group.append(node("p", title), bar(found.speedup, data.colors[found.design], times(found.speedup)));
        if (found.plain > 0) {
          const words = `${times(found.plain)}, plain array of ${found.array.join(" x ")}`;
          group.append(bar(found.plain, data.colors.baseline, words));
        }
        if (found.design === now.design) group.className = "explorer-chosen";
        return group;
      }),
    );
  };

  /** What stands in place of the figures where the schedule leaves no batch for Phase GP. */
  const showNothing = () => {
    element("result").replaceChildren(node("p", "No batch is in Phase GP: the warm-up is as long as the run."));
    element("bars").replaceChildren();
  };

  const show = () => {
    const sets = data.works.filter(([name]) => name === element("network").value).map(([, set]) => set);
    const select = element("dataset");
    for (const option of select.options) option.hidden = option.disabled = !sets.includes(option.value);
    if (!sets.includes(select.value)) select.value = sets[0];
    const one = sets.length === 1 && select.options.length > 1;
    element("note").textContent = one ? `${element("network").value}: ${sets[0]} only on this page` : "";
    for (const name of ["epochs", "warm-up"]) element(`${name}-value`).textContent = element(name).value;
    const now = chosen();
    const work = data.works.findIndex(([name, set]) => name === now.network && set === now.dataset);
    const count = batches(data.works[work][2], now);
    if (count.gp) {
      const all = data.designs.map((design) => figures(work, now, design, count));
      showResult(all[data.designs.indexOf(now.design)], count);
      showBars(now, all);
    } else showNothing();
    element("call").textContent = call(now);
  };

  const form = document.getElementById("adagp-explorer");
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
