/** How a page about data looks in a browser: one column, the reader's light or dark colours. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7d; --line: #d9e0e8; --paper: #fbfcfd; --bar: #2f7fd6; --tint: #2f7fd622; --mark: #ffe08a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #98a5b6; --line: #303a47; --paper: #141a21; --bar: #5aa5f2; --tint: #5aa5f233; --mark: #6b5410; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 1.5rem; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
.note { color: var(--soft); font-size: .88rem; margin: .25rem 0 .75rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; margin: .75rem 0; }
dl div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dd.note { font-size: .78rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: .82rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
td.number { text-align: right; background: linear-gradient(to left, var(--tint) var(--share), transparent var(--share)); }
svg { display: block; max-width: none; }
rect { fill: var(--bar); }
svg text { fill: var(--ink); font-size: 10px; text-anchor: middle; }
svg .axis { fill: var(--soft); }
figure { margin: .75rem 0; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figcaption { display: flex; gap: .75rem; flex-wrap: wrap; padding: .35rem .8rem; background: var(--tint); font-size: .82rem; }
.label { color: var(--soft); }
pre { margin: 0; padding: .7rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto; font-size: .85rem; }
mark { background: var(--mark); color: inherit; border-radius: .15rem; }
`;
