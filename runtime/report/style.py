"""The page's style sheet: light and dark by the reader's setting, narrow and wide."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--muted:#57606a;--rule:#d8dee4;--soft:#f5f7f9;
--c0:#1f5fbf;--c1:#b3541e;--c2:#2b7a4b;--c3:#7a4fb0;--c4:#8a6a00;--c5:#b0306a}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e4e7eb;--muted:#9da7b3;--rule:#30363d;--soft:#1c2026;
--c0:#79b0ff;--c1:#f0a070;--c2:#6fcf97;--c3:#c4a1f5;--c4:#e3c05a;--c5:#f58bb8}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1320px;padding:24px clamp(14px,3vw,40px) 40px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:24px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:17px;margin:36px 0 10px;padding-bottom:6px;border-bottom:1px solid var(--rule)}
h3{font-size:14px;margin:18px 0 6px}
p{margin:0 0 10px}
header p,footer p,#worst>p{color:var(--muted)}
nav{display:flex;flex-wrap:wrap;gap:2px 16px}
a{color:var(--c0)}
.lead b{font-size:28px;font-weight:600;margin-right:4px}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:14px}
th,td{padding:4px 22px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{font-weight:600;color:var(--muted);white-space:nowrap}
tbody th{font-weight:400}
.n{text-align:right;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
#parameters tbody tr:last-child>*{font-weight:600;border-top:1px solid var(--rule)}
#inputs td:last-child{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;overflow-wrap:anywhere;min-width:22ch}
#inputs td:nth-child(2){overflow-wrap:anywhere;min-width:16ch}
dl{display:grid;grid-template-columns:minmax(110px,max-content) minmax(0,1fr);gap:4px 22px;margin:0;font-size:14px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:18px 26px}
figure{margin:0;min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:0 12px;font-size:13px;margin-bottom:2px}
figcaption span{color:var(--muted)}
figcaption i{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--muted);font-size:10.5px}
svg .stage{font-size:9.5px}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.mark{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3;fill:none}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.tip{opacity:0}
.tip:hover{opacity:1}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
circle.c0{fill:var(--c0)}circle.c1{fill:var(--c1)}circle.c2{fill:var(--c2)}
circle.c3{fill:var(--c3)}circle.c4{fill:var(--c4)}circle.c5{fill:var(--c5)}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}
i.c3{background:var(--c3)}i.c4{background:var(--c4)}i.c5{background:var(--c5)}
ol{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,540px),1fr));gap:18px 34px}
li{min-width:0}
.query{margin:0 0 3px;overflow-wrap:anywhere}
.rank{font-weight:600;margin-right:6px;white-space:nowrap}
small{color:var(--muted);font-size:12px;overflow-wrap:anywhere}
details{font-size:13.5px}
summary{cursor:pointer;overflow-wrap:anywhere;padding:1px 0}
.role{display:inline-block;width:66px;color:var(--muted)}
.expected .role{color:var(--c2)}
.score{display:inline-block;min-width:44px;text-align:right;margin-right:8px}
pre{margin:4px 0 8px;padding:8px 10px;background:var(--soft);font:12px/1.45 ui-monospace,Menlo,Consolas,monospace;
white-space:pre-wrap;overflow-wrap:anywhere;max-height:18em;overflow-y:auto}
footer{margin-top:36px;border-top:1px solid var(--rule);padding-top:10px;font-size:12px;overflow-wrap:anywhere}
@media (max-width:520px){dl{grid-template-columns:minmax(0,1fr);gap:0}dd{margin-bottom:8px}th,td{padding-right:14px}}
@media print{body{max-width:none}}
"""
