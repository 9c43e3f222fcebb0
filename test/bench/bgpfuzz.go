package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/herald-lb/herald/test/bench/part"
)

// hostileRouters send mutated messages at the same time.
const hostileRouters = 30

func bgpFuzz() Benchmark {
	return Benchmark{
		Name:  "bgp-fuzz",
		About: fmt.Sprintf("%d routers send mutated BGP messages in one session after the other, and a BIRD behaves", hostileRouters),
		Run:   runBGPFuzz,
	}
}

func runBGPFuzz(ctx context.Context, e *Env) (Result, error) {
	o := part.HostileSettings{Routers: hostileRouters, Opens: uint64(e.Opens), Messages: 10 * uint64(e.Opens)}
	got, err := part.Hostile(ctx, o)
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	e.say("%+v", got)
	crashes := Row{Name: "crashes of the speaker's process", Goal: "0", Values: Sample{0}}
	if err != nil {
		if got == (part.Endured{}) {
			return Result{}, err // it has not begun
		}
		crashes.Values = Sample{1}
		e.say("%v", err)
	} else if !got.Done {
		return Result{}, errors.New("it ended before it was done")
	}
	value := func(name, goal string, v float64) Row { return Row{Name: name, Goal: goal, Values: Sample{v}} }
	return Result{
		Rows: []Row{
			crashes,
			value("mutated messages", fmt.Sprintf("≥ %s", number(float64(o.Messages))), float64(got.Messages)),
			value("OPENs, some of them mutated", fmt.Sprintf("≥ %s", number(float64(o.Opens))), float64(got.Opens)),
			value("sessions that came up", "", float64(got.Sessions)),
			value("sessions that the router which behaves needed", "1", float64(got.Good)),
		},
		Notes: []string{"The speaker runs in a process of its own, with all routers in its network namespace, and tries again at once whenever a session ends."},
	}, nil
}
