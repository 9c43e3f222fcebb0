package part

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Word {
		os.Exit(Main(context.Background(), os.Args[2:]))
	}
	os.Exit(m.Run())
}

// needsBIRD skips a test that starts parts.
func needsBIRD(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts routers and takes seconds: not with -short")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	for _, p := range []string{"bird", "ip", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

func TestRoutes(t *testing.T) {
	needsBIRD(t)
	programs := []Program{Herald, Plain, Split}
	times, err := Routes(t.Context(), RouteSettings{Programs: programs, Routers: 2, Addresses: 100, Withdrawn: 10})
	if err != nil {
		t.Fatal(err)
	}
	var got []Program
	for _, m := range times {
		got = append(got, m.Program)
		if m.All <= 0 || m.OneMore <= 0 || m.Withdrawn <= 0 || m.Resident <= 0 {
			t.Errorf("%+v", m)
		}
	}
	if !slices.Equal(got, programs) {
		t.Errorf("measured %v, want %v", got, programs)
	}
}

func TestHostile(t *testing.T) {
	needsBIRD(t)
	o := HostileSettings{Routers: 10, Opens: 20, Messages: 50}
	got, err := Hostile(t.Context(), o)
	if err != nil || !got.Done || got.Opens < o.Opens || got.Messages < o.Messages || got.Good != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUnknownPart(t *testing.T) {
	for _, args := range [][]string{nil, {"routes"}, {"nothing", "{}"}} {
		if Main(t.Context(), args) == 0 {
			t.Errorf("%q is a part", args)
		}
	}
}

// What BIRD answers about a session that is up, and about one that is not.
func TestBIRDRoutes(t *testing.T) {
	const head = "2002-Name       Proto      Table      State  Since         Info\n"
	up := head + "1002-node       BGP        ---        up     08:00:00.000  Established\n" +
		"1006-  BGP state:          Established\n   Channel ipv4\n     Routes:         10000 imported, 0 exported, 9999 preferred\n \n0000 \n"
	down := head + "1002-node       BGP        ---        start  08:00:00.000  Passive\n1006-  BGP state:          Passive\n \n0000 \n"
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		asked := bufio.NewReader(there)
		for _, answer := range []string{up, down} {
			if _, err := asked.ReadString('\n'); err != nil {
				return
			}
			io.Copy(there, strings.NewReader(answer))
		}
		there.Close()
	}()
	b := &bird{conn: here, reader: bufio.NewReader(here)}
	if n, err := b.routes(); n != 10000 || err != nil {
		t.Errorf("%d routes, %v", n, err)
	}
	if n, err := b.routes(); !errors.Is(err, errNoSession) {
		t.Errorf("%d routes, %v; want %v", n, err, errNoSession)
	}
	if _, err := b.routes(); err == nil {
		t.Error("BIRD has hung up, and that is no error")
	}
}

func TestWithin(t *testing.T) {
	tries := 0
	err := within(t.Context(), time.Minute, time.Microsecond, "it", func() error {
		if tries++; tries < 3 {
			return errNoSession
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := within(ctx, time.Minute, time.Microsecond, "it", func() error { return errNoSession }); !errors.Is(err, context.Canceled) || !errors.Is(err, errNoSession) {
		t.Errorf("%v", err)
	}
}
