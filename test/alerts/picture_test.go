package alerts

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A unit of Grafana's grid in the picture, in pixels.
const (
	unitX, unitY = 54, 30
	margin       = 12
)

// palette has the colours of a panel's series, in their order.
func palette(i int) string {
	colours := []string{"#3274d9", "#e0752d", "#37872d", "#a352cc", "#c4162a", "#b8860b", "#008b8b", "#8f3bb8", "#5f5f5f", "#d68fa8"}
	return colours[i%len(colours)]
}

// curve is a series with its name.
type curve struct {
	name   string
	points []point
}

// drawBoard draws what each panel shows, in the dashboard's order.
func drawBoard(ctx context.Context, b board, p *prometheusServer, begin time.Time) ([]byte, error) {
	end := time.Now()
	var svg bytes.Buffer
	height := 0
	for _, panel := range b.Panels {
		height = max(height, panel.GridPos.Y+panel.GridPos.H)
	}
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", 24*unitX+2*margin, height*unitY+2*margin)
	fmt.Fprintf(&svg, `<rect width="100%%" height="100%%" fill="#f4f5f5"/>`+"\n")
	for _, panel := range b.Panels {
		x, y := margin+panel.GridPos.X*unitX, margin+panel.GridPos.Y*unitY
		w, h := panel.GridPos.W*unitX, panel.GridPos.H*unitY
		if panel.Type == "row" {
			text(&svg, x+2, y+20, "bold 14px sans-serif", "#333", panel.Title)
			continue
		}
		fmt.Fprintf(&svg, `<rect x="%d" y="%d" width="%d" height="%d" fill="#fff" stroke="#ddd"/>`+"\n", x+3, y+3, w-6, h-6)
		text(&svg, x+10, y+19, "bold 12px sans-serif", "#222", panel.Title)
		var curves []curve
		for _, target := range panel.Targets {
			found, err := p.over(ctx, typed(target.Expr), begin, end)
			if err != nil {
				return nil, err
			}
			for _, s := range found {
				curves = append(curves, curve{legend(target.LegendFormat, s.labels), s.points})
			}
		}
		slices.SortFunc(curves, func(a, b curve) int { return strings.Compare(a.name, b.name) })
		if panel.Type == "stat" {
			drawNumber(&svg, x+w/2, y+h-30, curves)
			continue
		}
		drawCurves(&svg, frame{x + 50, y + 30, w - 65, h - 95}, curves, begin, end)
	}
	svg.WriteString("</svg>\n")
	return svg.Bytes(), nil
}

var label = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

func legend(format string, labels map[string]string) string {
	return label.ReplaceAllStringFunc(format, func(field string) string { return labels[label.FindStringSubmatch(field)[1]] })
}

func text(svg *bytes.Buffer, x, y int, font, colour, content string) {
	fmt.Fprintf(svg, `<text x="%d" y="%d" style="font: %s" fill="%s">`, x, y, font, colour)
	_ = xml.EscapeText(svg, []byte(content))
	svg.WriteString("</text>\n")
}

// drawNumber shows the newest value, and the highest one beside it.
func drawNumber(svg *bytes.Buffer, x, y int, curves []curve) {
	newest, most := "no data", ""
	if len(curves) > 0 && len(curves[0].points) > 0 {
		points := curves[0].points
		newest = short(points[len(points)-1].value)
		highest := slices.MaxFunc(points, func(a, b point) int { return int(math.Copysign(1, a.value-b.value)) })
		most = "highest " + short(highest.value)
	}
	text(svg, x-30, y, "bold 26px sans-serif", "#222", newest)
	text(svg, x-30, y+18, "11px sans-serif", "#777", most)
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }

// frame is where the curves of a panel are drawn.
type frame struct{ x, y, w, h int }

func drawCurves(svg *bytes.Buffer, f frame, curves []curve, begin, end time.Time) {
	low, high := 0.0, 0.0
	for _, c := range curves {
		for _, p := range c.points {
			if !math.IsNaN(p.value) {
				low, high = min(low, p.value), max(high, p.value)
			}
		}
	}
	if high == low {
		high = low + 1
	}
	for i := range 4 {
		value := low + (high-low)*float64(i)/3
		y := f.y + f.h - f.h*i/3
		fmt.Fprintf(svg, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#eee"/>`+"\n", f.x, y, f.x+f.w, y)
		text(svg, f.x-42, y+4, "10px sans-serif", "#777", short(value))
	}
	took := end.Sub(begin).Seconds()
	text(svg, f.x, f.y+f.h+13, "10px sans-serif", "#777", "0 s")
	text(svg, f.x+f.w-28, f.y+f.h+13, "10px sans-serif", "#777", fmt.Sprintf("%.0f s", took))

	shown := 0
	at := frame{x: f.x - 40, y: f.y + f.h + 26}
	for _, c := range curves {
		if !moves(c) {
			continue // a line at 0 says nothing in a picture
		}
		colour := palette(shown)
		shown++
		var path strings.Builder
		pen := "M"
		for _, p := range c.points {
			if math.IsNaN(p.value) {
				pen = "M"
				continue
			}
			x := float64(f.x) + float64(f.w)*(p.at-float64(begin.Unix()))/took
			y := float64(f.y+f.h) - float64(f.h)*(p.value-low)/(high-low)
			fmt.Fprintf(&path, "%s%.0f %.0f", pen, x, y)
			pen = "L"
		}
		fmt.Fprintf(svg, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", path.String(), colour)
		width := 22 + 6*len(c.name)
		if at.x+width > f.x+f.w+10 && at.x > f.x-40 {
			at.x, at.y = f.x-40, at.y+13
		}
		if at.y > f.y+f.h+62 {
			continue // no place is left for its name
		}
		fmt.Fprintf(svg, `<rect x="%d" y="%d" width="9" height="4" fill="%s"/>`+"\n", at.x, at.y-5, colour)
		text(svg, at.x+12, at.y, "10px sans-serif", "#333", c.name)
		at.x += width
	}
}

// moves says that a curve is not 0 all the time.
func moves(c curve) bool { return showsSomething([]series{{points: c.points}}) }
