package soak

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/herald-lb/herald/test/herald"
	"github.com/herald-lb/herald/test/lab/probe"
)

// mostSilent is how long an address may give no answer, whatever happens.
const mostSilent = 5 * time.Second

// took is how long a fault lasted, and how long it was until all was well.
type took struct{ fault, settling time.Duration }

// line is what the report says of a kind of fault.
type line struct {
	times, moves, failed int
	silent, settling     []time.Duration
}

// seen is what a fault did to the clients.
type seen struct {
	moves, short, failed int // short: under way at the very moment of a move, and reset
	silent               time.Duration
	where                netip.Addr // was silent for longest
	first                string     // of the failed ones
}

// judge compares what happened with what may.
func (r *run) judge(f fault, owners *herald.Owners, t took) {
	s := r.look(owners)
	switch {
	case f.kind == needless && s.moves > 0:
		r.breaks(f, fmt.Sprintf("addresses moved: %s", r.moved(owners)))
	case f.kind == planned && (s.failed > 0 || s.short > s.moves):
		r.breaks(f, fmt.Sprintf("%d connections failed, one to %s; %d more were cut short in %d moves", s.failed, s.first, s.short, s.moves))
	}
	if s.silent > mostSilent {
		r.breaks(f, fmt.Sprintf("%v gave no answer for %v", s.where, s.silent.Round(time.Millisecond)))
	}
	l := r.lines[f.name]
	if l == nil {
		l = &line{}
		r.lines[f.name] = l
		r.order = append(r.order, f.name)
	}
	l.times, l.moves, l.failed = l.times+1, l.moves+s.moves, l.failed+s.failed+s.short
	l.silent, l.settling = append(l.silent, s.silent), append(l.settling, t.settling)
	fmt.Fprintf(r.settings.Out, "%s  %s %s, %v: %d moves, %d connections failed and %d were cut short, at most %v without an answer, settled after %v\n",
		time.Now().Format(time.TimeOnly), f.name, r.detail, t.fault.Round(time.Second), s.moves, s.failed, s.short,
		s.silent.Round(time.Millisecond), t.settling.Round(100*time.Millisecond))
	if f.kind == needless && s.failed > 0 {
		fmt.Fprintf(r.settings.Out, "          the first that failed: %s\n", s.first)
	}
}

// look sums up over all addresses. An address that a stranger took is left out:
// nobody can keep clients from believing the stranger.
func (r *run) look(owners *herald.Owners) seen {
	var s seen
	for a, p := range r.clients {
		if a == r.contested {
			continue
		}
		s.moves += max(len(owners.Moves(a))-1, 0)
		report := p.Report()
		for _, f := range report.Failures {
			if r.switches.CutShort(a, f) {
				s.short++
				continue
			}
			if s.failed++; s.failed == 1 {
				s.first = fmt.Sprintf("%v at %s: %s", a, f.At.Format("15:04:05.000"), f.Reason)
			}
		}
		if d := silence(report); d > s.silent {
			s.silent, s.where = d, a
		}
	}
	return s
}

// silence is the longest time without an answer, less what the prober was held
// up itself.
func silence(r probe.Report) time.Duration { return max(r.Worst()-r.Late, 0) }

func (r *run) moved(owners *herald.Owners) string {
	var out []string
	for _, a := range r.all() {
		if moves := owners.Moves(a); len(moves) > 1 && a != r.contested {
			out = append(out, fmt.Sprintf("%v %v", a, moves))
		}
	}
	return strings.Join(out, ", ")
}

// breaks notes that something did not hold.
func (r *run) breaks(f fault, what string) {
	s := fmt.Sprintf("%s  %s %s: %s", time.Now().Format(time.TimeOnly), f.name, r.detail, what)
	r.broken = append(r.broken, s)
	fmt.Fprintln(r.settings.Out, "BROKEN", s)
}

// report writes the summary.
func (r *run) report() {
	if grown := r.memory.grown(); grown != nil {
		r.breaks(fault{name: "memory"}, grown.Error())
	}
	fmt.Fprintf(r.settings.Out, "\nseed %d, %d nodes, %d addresses, %d connections a second to each\n\n",
		r.settings.Seed, r.settings.Nodes, len(r.clients), r.settings.Rate)
	w := tabwriter.NewWriter(r.settings.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\ttimes\tmoves\tfailed\tno answer, median\tworst\tsettled after, worst")
	for _, name := range r.order {
		l := r.lines[name]
		slices.Sort(l.silent)
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%v\t%v\t%v\n", name, l.times, l.moves, l.failed,
			l.silent[len(l.silent)/2].Round(time.Millisecond), l.silent[len(l.silent)-1].Round(time.Millisecond),
			slices.Max(l.settling).Round(100*time.Millisecond))
	}
	w.Flush()
	fmt.Fprintf(r.settings.Out, "\nmemory of an announcer: %s\n", r.memory)
	for _, b := range r.broken {
		fmt.Fprintln(r.settings.Out, "BROKEN", b)
	}
}

// memory is what announcers had after each fault.
type memory struct{ samples []int } // the largest of all nodes, in bytes

const (
	mostMemory = 100 << 20
	warmUp     = 5        // samples
	mostGrowth = 16 << 20 // from the median of the first samples to that of the last
)

func newMemory() *memory { return &memory{} }

func (m *memory) measure(c *herald.Cluster) error {
	most := 0
	for _, node := range c.Nodes() {
		b, err := c.Resident(node)
		if err != nil {
			return err
		}
		most = max(most, b)
	}
	m.samples = append(m.samples, most)
	return nil
}

// grown says what is wrong with the memory, or returns nil.
func (m *memory) grown() error {
	var errs []error
	if len(m.samples) > 0 && slices.Max(m.samples) > mostMemory {
		errs = append(errs, fmt.Errorf("an announcer had %d MB", slices.Max(m.samples)>>20))
	}
	if len(m.samples) >= 2*warmUp {
		first, last := median(m.samples[:warmUp]), median(m.samples[len(m.samples)-warmUp:])
		if last-first > mostGrowth {
			errs = append(errs, fmt.Errorf("announcers grew from %d to %d MB", first>>20, last>>20))
		}
	}
	return errors.Join(errs...)
}

// String says how much it was at the beginning, at the end and at most.
func (m *memory) String() string {
	if len(m.samples) == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%d MB at first, %d MB at last, %d MB at most",
		m.samples[0]>>20, m.samples[len(m.samples)-1]>>20, slices.Max(m.samples)>>20)
}

func median(samples []int) int {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2]
}
