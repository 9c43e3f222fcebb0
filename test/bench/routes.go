package bench

import (
	"context"
	"fmt"
	"slices"

	"github.com/herald-lb/herald/test/bench/part"
)

// What is announced to how many routers, and how many addresses go at once in
// the end.
const (
	routers   = 4
	withdrawn = 10 // one in so many
)

func routes() Benchmark {
	return Benchmark{
		Name:  "routes",
		About: fmt.Sprintf("a node announces many addresses to %d routers by BGP, then one more, and withdraws some at once; beside it GoBGP alone does the same", routers),
		Run:   runRoutes,
	}
}

func runRoutes(ctx context.Context, e *Env) (Result, error) {
	count := number(float64(e.Routes))
	gone := e.Routes / withdrawn
	const server = "GoBGP"
	all := Row{Name: count + " addresses: until the last route", Unit: "ms", Goal: "ratio < 1.3", BesideName: server}
	apart := Row{Name: all.Name + ", against a server for each router", Unit: "ms", BesideName: server}
	more := Row{Name: "one more: until its route", Unit: "ms", Goal: "milliseconds", BesideName: server}
	fewer := Row{Name: number(float64(gone)) + " withdrawn at once: until the last has gone", Unit: "ms", BesideName: server}
	cpu := Row{Name: count + " addresses: CPU", Unit: "ms", BesideName: server}
	theirs := Row{Name: count + " addresses: CPU of all routers", Unit: "ms", BesideName: server}
	memory := Row{Name: count + " addresses: RSS", Unit: "MiB", BesideName: server}
	programs := []part.Program{part.Herald, part.Plain, part.Split}
	for run := range e.Runs {
		// Whoever comes first in one run comes last in the next.
		order := slices.Concat(programs[run%len(programs):], programs[:run%len(programs)])
		list, err := part.Routes(ctx, part.RouteSettings{Programs: order, Routers: routers, Addresses: e.Routes, Withdrawn: gone})
		if err != nil {
			return Result{}, err
		}
		times := map[part.Program]part.RouteTimes{}
		for _, t := range list {
			e.say("%s: %v, one more %v, withdrawn %v, CPU %v, of the routers %v, %.0f MiB", t.Program, t.All, t.OneMore, t.Withdrawn, t.CPU, t.Routers, t.Resident)
			times[t.Program] = t
		}
		ours, plain := times[part.Herald], times[part.Plain]
		add := func(r *Row, value, beside float64) {
			r.Values, r.Beside = append(r.Values, value), append(r.Beside, beside)
		}
		add(&all, milliseconds(ours.All), milliseconds(plain.All))
		add(&apart, milliseconds(ours.All), milliseconds(times[part.Split].All))
		add(&more, milliseconds(ours.OneMore), milliseconds(plain.OneMore))
		add(&fewer, milliseconds(ours.Withdrawn), milliseconds(plain.Withdrawn))
		add(&cpu, milliseconds(ours.CPU), milliseconds(plain.CPU))
		add(&theirs, milliseconds(ours.Routers), milliseconds(plain.Routers))
		add(&memory, ours.Resident, plain.Resident)
	}
	return Result{Rows: []Row{all, apart, more, fewer, cpu, theirs, memory}, Notes: []string{
		"Herald is its agent and its BGP speaker in a process of their own, given what the API server would show: no API server, and no other node. GoBGP is v3 in the simplest program that announces the same: one server with all routers as neighbours, and a call for each address; the row that says so has a server for each router, which the calls reach side by side.",
		"Each router is BIRD in a network namespace of its own at the end of a cable, asked over its control socket how many routes it has from the node. It gives no route to a kernel, whose tables would be what is slow; its CPU is a row, and on a machine of few cores a part of the time. Times are from the order until the last router has it all.",
		"One more includes the 5 ms in which the announcer gathers what else changes.",
	}}, nil
}
