package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Measures of the chart, in pixels.
const (
	chartWidth  = 900
	chartLeft   = 430 // where bars may begin
	chartRight  = 60  // room for the last ratio
	chartRow    = 18
	chartHeader = 26
)

// chart draws how many times better Skiff is: a bar for each row that both sides have, on a scale of powers of two.
// Processor times are left out; the table has them.
func chart(rows []*row) string {
	var shown []*row
	low, high := -1.0, 1.0
	for _, w := range rows {
		r, ok := w.ratio()
		if !ok || strings.Contains(w.What, "processor time") {
			continue
		}
		shown = append(shown, w)
		low, high = min(low, math.Floor(math.Log2(r))), max(high, math.Ceil(math.Log2(r)))
	}
	x := func(log float64) float64 { return chartLeft + (log-low)/(high-low)*(chartWidth-chartLeft-chartRight) }
	var body strings.Builder
	y, last := chartHeader, ""
	for _, w := range shown {
		if w.Benchmark != last {
			y += chartRow / 2
			last = w.Benchmark
		}
		r, _ := w.ratio()
		log := math.Log2(r)
		class := "good"
		if log < 0 {
			class = "bad"
		}
		from, to := min(x(0), x(log)), max(x(0), x(log))
		fmt.Fprintf(&body, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", chartLeft-8, y+12, html.EscapeString(w.Benchmark+": "+w.What))
		fmt.Fprintf(&body, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", class, from, y+2, max(to-from, 1), chartRow-5)
		fmt.Fprintf(&body, `<text x="%.1f" y="%d">%.1fx</text>`+"\n", to+4, y+12, r)
		y += chartRow
	}
	var grid strings.Builder
	for log := low; log <= high; log++ {
		label := fmt.Sprintf("%gx", math.Exp2(log))
		if log < 0 {
			label = fmt.Sprintf("1/%g", math.Exp2(-log))
		}
		fmt.Fprintf(&grid, `<line x1="%[1]f" x2="%[1]f" y1="%[2]d" y2="%[3]d"/><text x="%[1]f" y="14" text-anchor="middle">%[4]s</text>`+"\n", x(log), chartHeader-6, y, label)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d">
<title>How many times better Skiff is than upstream</title>
<style>text{font:11px sans-serif;fill:#333}line{stroke:#ddd}.good{fill:#2a7ab0}.bad{fill:#c4572e}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%[3]s%[4]s</svg>
`, chartWidth, y+10, grid.String(), body.String())
}
