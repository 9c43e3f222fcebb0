package bench

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// Plot is a picture of samples on one axis: a line of dots for each, a dot for
// each run, and a bar at the median.
type Plot struct {
	Title string
	Unit  string
	Lines []PlotLine
}

// PlotLine is one sample of a plot.
type PlotLine struct {
	Name   string
	Values Sample
	Goal   float64 // marked on the line; 0 is none
}

// The measures of a plot, in pixels.
const (
	plotWidth   = 920
	plotLeft    = 330 // room for names
	plotRight   = 90  // room for the worst value
	plotTop     = 46
	plotLine    = 24 // height of a line
	plotBottom  = 34
	plotMinimum = 10.0 // where the axis begins; a smaller value stands there
)

// SVG draws the plot. The axis is logarithmic, because what is compared differs
// by powers of ten.
func (p *Plot) SVG() []byte {
	var b bytes.Buffer
	height := plotTop + len(p.Lines)*plotLine + plotBottom
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="12" y="22" font-size="15">%s</text>`+"\n", html.EscapeString(p.Title))
	fmt.Fprintf(&b, `<text x="%d" y="22" text-anchor="end" fill="#555">a dot for each run · red: median · green: goal</text>`+"\n", plotWidth-12)
	p.drawAxis(&b, height)
	for i, l := range p.Lines {
		p.drawLine(&b, l, float64(plotTop+i*plotLine)+plotLine/2)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// top is where the axis ends: at the power of ten above all values.
func (p *Plot) top() float64 {
	top := plotMinimum * 10
	for _, l := range p.Lines {
		for _, v := range append(Sample{l.Goal}, l.Values...) {
			for v > top {
				top *= 10
			}
		}
	}
	return top
}

// x is where a value stands.
func (p *Plot) x(v float64) float64 {
	share := math.Log10(max(v, plotMinimum)/plotMinimum) / math.Log10(p.top()/plotMinimum)
	return plotLeft + share*(plotWidth-plotLeft-plotRight)
}

func (p *Plot) drawAxis(b *bytes.Buffer, height int) {
	bottom := height - plotBottom
	for v := plotMinimum; v <= p.top(); v *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v*m > p.top() {
				break
			}
			fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>`, p.x(v*m), p.x(v*m), plotTop, bottom)
			fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n", p.x(v*m), bottom+16, number(v*m))
		}
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#555">%s</text>`+"\n", plotWidth-plotRight+30, bottom+16, html.EscapeString(p.Unit))
}

func (p *Plot) drawLine(b *bytes.Buffer, l PlotLine, y float64) {
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft-12, y+4, html.EscapeString(l.Name))
	if l.Goal > 0 {
		p.tick(b, l.Goal, y, "#2a2")
	}
	if len(l.Values) == 0 {
		fmt.Fprintf(b, `<text x="%d" y="%.1f" fill="#999">not measured</text>`+"\n", plotLeft+6, y+4)
		return
	}
	for _, v := range l.Values {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4" fill="#36c" fill-opacity="0.45"/>`+"\n", p.x(v), y)
	}
	p.tick(b, l.Values.Median(), y, "#c33")
	fmt.Fprintf(b, `<text x="%d" y="%.1f">worst %s</text>`+"\n", plotWidth-plotRight+8, y+4, number(l.Values.Max()))
}

// tick draws a bar across a line.
func (p *Plot) tick(b *bytes.Buffer, v, y float64, colour string) {
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n", p.x(v), p.x(v), y-9, y+9, colour)
}
