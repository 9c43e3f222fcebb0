package part

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/herald-lb/herald/test/internal/usage"
)

// RouteSettings say what to measure of announcing routes.
type RouteSettings struct {
	Programs           []Program // each of which takes its turn
	Routers, Addresses int
	Withdrawn          int // at once, in the end
}

// RouteTimes is what was measured of one program.
type RouteTimes struct {
	Program   Program
	All       time.Duration // until the last router had the last route
	OneMore   time.Duration // until the last router had one more
	Withdrawn time.Duration // until the last router had none of those withdrawn
	CPU       time.Duration // of the program, for all routes
	Resident  float64       // MiB, with all routes
	Routers   time.Duration // CPU of all routers, for all routes
}

// Routes has programs announce addresses to routers, one after the other, and
// returns what it saw at the routers.
func Routes(ctx context.Context, o RouteSettings) ([]RouteTimes, error) {
	var times []RouteTimes
	out, in := io.Pipe()
	decoded := make(chan error, 1)
	go func() { decoded <- json.NewDecoder(out).Decode(&times) }()
	err := isolated(ctx, "routes", o, in)
	in.CloseWithError(err)
	if failed := <-decoded; err == nil {
		err = failed
	}
	return times, err
}

// measureRoutes is the part that has them announce.
func measureRoutes(ctx context.Context, settings []byte, out io.Writer) error {
	var o RouteSettings
	if err := json.Unmarshal(settings, &o); err != nil {
		return err
	}
	if err := settleIn(); err != nil {
		return err
	}
	s := site{RouteSettings: o}
	for i := range o.Routers {
		b, err := startBIRD(ctx, i+1)
		if err != nil {
			return err
		}
		s.birds = append(s.birds, b)
		s.addresses = append(s.addresses, b.address)
	}
	var all []RouteTimes
	for _, p := range o.Programs {
		times, err := s.measure(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		all = append(all, times)
	}
	return json.NewEncoder(out).Encode(all)
}

// site is the routers.
type site struct {
	RouteSettings
	birds     []*bird
	addresses []netip.Addr
}

const (
	// sessionsTimeout is how long is waited for sessions and for routes.
	sessionsTimeout = time.Minute
	// quiet lets what belongs to a session's beginning end.
	quiet = 500 * time.Millisecond
	// memoryLimit is what the announcer's manifest has.
	memoryLimit = "GOMEMLIMIT=160MiB"
	// How often routers are asked: looking has its cost for them, which a
	// single route can bear.
	lookForAll = 2 * time.Millisecond
	lookForOne = 300 * time.Microsecond
)

// measure measures one program, from its start to its end.
func (s *site) measure(ctx context.Context, program Program) (t RouteTimes, err error) {
	t.Program = program
	cmd, err := command(ctx, "announce", announcing{program, s.addresses, s.Addresses + 1})
	if err != nil {
		return t, err
	}
	cmd.Env = append(os.Environ(), memoryLimit)
	in, err := cmd.StdinPipe()
	if err != nil {
		return t, err
	}
	if err := cmd.Start(); err != nil {
		return t, err
	}
	defer func() {
		in.Close() // which tells it to end
		ended := cmd.Wait()
		if err == nil {
			err = ended
		}
		if err == nil {
			err = within(ctx, sessionsTimeout, lookForAll, "the sessions to end", s.noneUp)
		}
	}()
	if err := s.seen(ctx, 0, lookForAll); err != nil {
		return t, err
	}
	time.Sleep(quiet)
	before, err := s.use(cmd)
	if err != nil {
		return t, err
	}
	for _, step := range []struct {
		took *time.Duration
		n    int
		look time.Duration
	}{
		{&t.All, s.Addresses, lookForAll},
		{&t.OneMore, s.Addresses + 1, lookForOne},
		{&t.Withdrawn, s.Addresses + 1 - s.Withdrawn, lookForAll},
	} {
		began := time.Now()
		if _, err := fmt.Fprintln(in, step.n); err != nil {
			return t, err
		}
		if err := s.seen(ctx, step.n, step.look); err != nil {
			return t, err
		}
		*step.took = time.Since(began)
		if step.took == &t.All {
			after, err := s.use(cmd)
			if err != nil {
				return t, err
			}
			t.CPU, t.Routers, t.Resident = after.CPU-before.CPU, after.routers-before.routers, after.RSS
		}
		time.Sleep(quiet)
	}
	return t, nil
}

// use is what a program has used, and the CPU of all routers.
type use struct {
	usage.Usage
	routers time.Duration
}

// use reads what has been used.
func (s *site) use(program *exec.Cmd) (use, error) {
	var all use
	for _, b := range s.birds {
		u, err := usage.Of(b.cmd.Process.Pid)
		if err != nil {
			return all, err
		}
		all.routers += u.CPU
	}
	var err error
	all.Usage, err = usage.Of(program.Process.Pid)
	return all, err
}

// seen waits until every router has so many routes.
func (s *site) seen(ctx context.Context, n int, look time.Duration) error {
	for _, b := range s.birds {
		err := within(ctx, sessionsTimeout, look, fmt.Sprintf("%v to have %d routes", b.address, n), func() error {
			got, err := b.routes()
			if err == nil && got != n {
				err = fmt.Errorf("it has %d", got)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noneUp is an error if a session is up.
func (s *site) noneUp() error {
	for _, b := range s.birds {
		if n, err := b.routes(); err == nil {
			return fmt.Errorf("%v has one, with %d routes", b.address, n)
		} else if err != errNoSession {
			return err
		}
	}
	return nil
}
