package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
)

// replyEvery leaves time between two questions: 40 a second for one address
// from one client are fewer than what an announcer takes for a flood.
const replyEvery = 25 * time.Millisecond

func reply() Benchmark {
	return Benchmark{
		Name:  "reply",
		About: "the client asks by ARP and by neighbour solicitation for a Service's address, and in turn for the own address of the same node, which its kernel answers for",
		Run:   runReply,
	}
}

func runReply(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	remove, err := c.namespace(ctx, "reply")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := c.deployWeb(ctx, "reply", ""); err != nil {
		return Result{}, err
	}
	addresses, err := c.dualStackService(ctx, "reply")
	if err != nil {
		return Result{}, err
	}
	for _, flood := range []int{0, e.FloodRate} {
		for _, address := range addresses {
			rows, err := e.replyRows(ctx, c, address, flood)
			if err != nil {
				rows = []Row{missing(replyName(address, flood), err)}
			}
			result.Rows = append(result.Rows, rows...)
		}
	}
	result.Notes = []string{
		"A time is from before the system call that sends the question until the client's kernel has the answer. The announcer answers from a process, which has to be woken; the kernel answers within the interrupt.",
		fmt.Sprintf("The flood is of %d frames a second from a host of its own: a quarter each asks for the address, for addresses of the pool that nobody has, for others, and is broken. It uses the same cores as everything else.", e.FloodRate),
	}
	return result, nil
}

func protocolOf(a netip.Addr) string {
	if a.Is4() {
		return "ARP"
	}
	return "NDP"
}

// replyName is what is measured for an address, beside a flood of so many frames
// a second, if any.
func replyName(a netip.Addr, flood int) string {
	name := protocolOf(a) + " reply"
	if flood > 0 {
		name += " under the flood"
	}
	return name
}

// replyRows measures one family, beside a flood of so many frames a second.
func (e *Env) replyRows(ctx context.Context, c *cluster, address netip.Addr, flood int) ([]Row, error) {
	owner, err := c.waitOwner(ctx, address)
	if err != nil {
		return nil, err
	}
	own, err := c.Address(owner, address)
	if address.Is4() && err == nil {
		own, err = c.second(owner)
	}
	if err != nil {
		return nil, err
	}
	name := replyName(address, flood)
	if flood > 0 {
		frames, err := hostileFrames(address)
		if err != nil {
			return nil, err
		}
		stop, err := c.startFlood(ctx, frames, flood)
		if err != nil {
			return nil, err
		}
		defer func() { e.say("the flood was of %.0f frames/s", stop()) }()
	}
	percentiles := []float64{50, 90, 99}
	rows := make([]Row, len(percentiles))
	for i, p := range percentiles {
		rows[i] = Row{Name: fmt.Sprintf("%s, p%.0f", name, p), Unit: "µs", BesideName: "kernel"}
	}
	lost := Row{Name: name + ", lost", Unit: "%", BesideName: "kernel"}
	for range e.Runs {
		ours, kernel, err := c.askInTurn(ctx, e.Replies, [2]netip.Addr{address, own})
		if err != nil {
			return nil, err
		}
		e.say("%s: p50 %.0f µs, p99 %.0f µs; kernel %.0f, %.0f", name, ours.Median(), ours.Percentile(99), kernel.Median(), kernel.Percentile(99))
		for i, p := range percentiles {
			rows[i].Values = append(rows[i].Values, ours.Percentile(p))
			rows[i].Beside = append(rows[i].Beside, kernel.Percentile(p))
		}
		share := func(s Sample) float64 { return 100 * float64(e.Replies-len(s)) / float64(e.Replies) }
		lost.Values, lost.Beside = append(lost.Values, share(ours)), append(lost.Beside, share(kernel))
	}
	return append(rows, lost), nil
}

// askInTurn asks for two addresses in turn and returns the times of the answers
// in µs.
func (c *cluster) askInTurn(ctx context.Context, times int, addresses [2]netip.Addr) (first, second Sample, err error) {
	var askers [2]*asker
	for i, a := range addresses {
		if askers[i], err = c.newAsker(a); err != nil {
			return nil, nil, err
		}
		defer askers[i].close()
	}
	samples := [2]Sample{}
	for i := range times {
		for _, j := range []int{i % 2, 1 - i%2} {
			took, err := askers[j].ask()
			if err != nil && !errors.Is(err, errNothing) {
				return nil, nil, err
			}
			if err == nil {
				samples[j] = append(samples[j], float64(took)/float64(time.Microsecond))
			}
		}
		if err := pause(ctx, replyEvery); err != nil {
			return nil, nil, err
		}
	}
	return samples[0], samples[1], nil
}

// asker asks for one address from the client.
type asker struct {
	*rawSocket
	frame []byte
	buf   [256]byte
}

func (c *cluster) newAsker(target netip.Addr) (*asker, error) {
	etherType := uint16(unix.ETH_P_IPV6)
	from, err := c.Address(lab.Client, target)
	if target.Is4() && err == nil {
		etherType = unix.ETH_P_ARP
		from, err = c.second(lab.Client)
	}
	if err != nil {
		return nil, err
	}
	s, err := c.openRaw(lab.Client, etherType, answersFor(target))
	if err != nil {
		return nil, err
	}
	a := &asker{rawSocket: s}
	if a.frame, err = question(s.mac, from, target); err != nil {
		s.close()
		return nil, err
	}
	return a, nil
}

// ask asks once, and returns how long the answer took.
func (a *asker) ask() (time.Duration, error) {
	// Late answers to an earlier question are not answers to this one.
	for {
		if _, _, err := unix.Recvfrom(a.fd, a.buf[:], unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	start := time.Now().Round(0) // the kernel's times are of the wall clock
	if err := a.send(a.frame); err != nil {
		return 0, err
	}
	_, at, err := a.receive(a.buf[:])
	return at.Sub(start), err
}

// dualStackService creates a Service of both families and returns its addresses.
func (c *cluster) dualStackService(ctx context.Context, ns string) ([]netip.Addr, error) {
	policy := corev1.IPFamilyPolicyRequireDualStack
	s := newService("both", func(s *corev1.Service) {
		s.Spec.IPFamilyPolicy = &policy
		selectWeb(s)
	})
	if _, err := c.Client().CoreV1().Services(ns).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if _, err := c.waitAddress(ctx, ns, s.Name); err != nil {
		return nil, err
	}
	s, err := c.Client().CoreV1().Services(ns).Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, i := range s.Status.LoadBalancer.Ingress {
		a, err := netip.ParseAddr(i.IP)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
