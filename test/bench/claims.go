package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/test/lab"
)

// poolPrefix has the IPv4 addresses of the pool.
var poolPrefix = netip.MustParsePrefix("10.99.128.0/17")

// claim is who said last that an address is at it.
type claim struct {
	node string
	at   time.Time // since when it is this one
}

// claims sees, from the client, who claims the pool's IPv4 addresses by ARP,
// asked or unasked.
type claims struct {
	socket *rawSocket
	from   netip.Addr
	nodes  map[announce.MAC]string
	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex // guards the fields below
	now     map[netip.Addr]claim
	changes int
}

// watchClaims watches until close is called.
func (c *cluster) watchClaims(ctx context.Context) (*claims, error) {
	from, err := c.second(lab.Client)
	if err != nil {
		return nil, err
	}
	w := &claims{from: from, nodes: map[announce.MAC]string{}, now: map[netip.Addr]claim{}, done: make(chan error, 1)}
	for _, node := range c.Nodes() {
		err := c.Do(node, func() error {
			iface, err := net.InterfaceByName("eth0")
			if err == nil {
				w.nodes[announce.MAC(iface.HardwareAddr)] = node
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if w.socket, err = c.openRaw(lab.Client, unix.ETH_P_ARP, nil); err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() { w.done <- w.watch(ctx) }()
	return w, nil
}

func (w *claims) close() {
	w.cancel()
	<-w.done
	w.socket.close()
}

func (w *claims) watch(ctx context.Context) error {
	buf := make([]byte, 256)
	for ctx.Err() == nil {
		n, at, err := w.socket.receive(buf)
		if errors.Is(err, errNothing) {
			continue
		}
		if err != nil {
			return err
		}
		if n >= etherLen+arpLen {
			w.saw(announce.MAC(buf[arpSenderMAC:arpSenderIP]), netip.AddrFrom4([4]byte(buf[arpSenderIP:])), at)
		}
	}
	return nil
}

func (w *claims) saw(mac announce.MAC, a netip.Addr, at time.Time) {
	node, ok := w.nodes[mac]
	if !ok || !poolPrefix.Contains(a) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.now[a]
	if known && last.node == node {
		return
	}
	if known {
		w.changes++
	}
	w.now[a] = claim{node, at}
}

// owner is who claimed an address last.
func (w *claims) owner(a netip.Addr) claim {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[a]
}

// moved is how many times an address changed its node.
func (w *claims) moved() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

// ask asks for addresses, at a pace that no queue on the way overflows at. The
// answers are claims.
func (w *claims) ask(addresses []netip.Addr) error {
	for i, a := range addresses {
		if err := w.socket.send(arpQuestion(w.socket.mac, w.from, a)); err != nil {
			return err
		}
		if i%50 == 49 {
			<-time.After(25 * time.Millisecond)
		}
	}
	return nil
}

// unowned are those of the addresses that a test does not accept the owner of.
func (w *claims) unowned(addresses []netip.Addr, accept func(claim) bool) []netip.Addr {
	var out []netip.Addr
	for _, a := range addresses {
		if !accept(w.owner(a)) {
			out = append(out, a)
		}
	}
	return out
}

// waitOwned waits until every address has an owner. Those that have none are
// asked for each second.
func (w *claims) waitOwned(ctx context.Context, addresses []netip.Addr, within time.Duration) error {
	for deadline := time.Now().Add(within); ; {
		left := w.unowned(addresses, func(c claim) bool { return c.node != "" })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nobody answers for %d of %d addresses after %v, %v among them", len(left), len(addresses), within, left[0])
		}
		if err := errors.Join(w.ask(left), pause(ctx, time.Second)); err != nil {
			return err
		}
	}
}
