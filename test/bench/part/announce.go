package part

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Program is what announces routes.
type Program string

// Herald is Herald's announcer without Kubernetes: what the API server would
// show is given to its agent. Plain is GoBGP alone in the simplest program: one
// server with all routers as its neighbours. Split is GoBGP with a server for
// each router, to which routes are added side by side.
const (
	Herald Program = "Herald"
	Plain  Program = "GoBGP"
	Split  Program = "GoBGP, a server for each router"
)

// announcing are the settings of the part that announces.
type announcing struct {
	Program Program
	Routers []netip.Addr
	Most    int // addresses that it will be told to announce
}

// announcer announces as many addresses as it is told, from the first on.
type announcer interface {
	announce(n int) error
	close()
}

// announceRoutes announces as many addresses as each line of its input says,
// until the input ends.
func announceRoutes(ctx context.Context, settings []byte, _ io.Writer) error {
	var o announcing
	if err := json.Unmarshal(settings, &o); err != nil {
		return err
	}
	var a announcer
	var err error
	switch o.Program {
	case Herald:
		a, err = newHerald(ctx, o)
	case Plain:
		a, err = newPlain(o.Routers)
	case Split:
		a, err = newSplit(o.Routers)
	default:
		err = fmt.Errorf("no program %q", o.Program)
	}
	if err != nil {
		return err
	}
	defer a.close()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		n, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil {
			return err
		}
		if err := a.announce(n); err != nil {
			return err
		}
	}
	return nil
}

// address is the address of that number.
func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}) }
