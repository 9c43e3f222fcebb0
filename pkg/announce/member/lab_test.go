package member

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The lab is a bridge in a network namespace of the test's own, and for each
// member a process in a namespace of its own, joined to the bridge by a veth
// pair: cables can be cut, processes killed and stopped. The test binary plays
// all the parts, told by the environment which.
const (
	envLab   = "HERALD_MEMBER_LAB"   // set in the process that runs a test in its namespace
	envChild = "HERALD_MEMBER_CHILD" // what a member's process is to be, as JSON
)

func TestMain(m *testing.M) {
	if config := os.Getenv(envChild); config != "" {
		if err := runChild(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// inLab runs the test that calls it in a network namespace, in a process of
// its own, and reports whether this is that process.
func inLab(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envLab) != "" {
		return true
	}
	if testing.Short() {
		t.Skip("takes its time")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), envLab+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Skipf("no user and network namespaces here: %v", err)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("in its namespace: %v", err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip("skipped in its namespace, see above")
	}
	return false
}

// childConfig is what a member's process is told.
type childConfig struct {
	Name    string
	Address netip.Addr
	Peers   []netip.Addr
	KeyDir  string
}

// sighting is a line that a member's process prints: another member's state
// changed, as this one sees it.
type sighting struct {
	At      int64 // Unix nanoseconds
	Name    string
	Alive   bool
	Down    string
	Session uint64
	Witness bool
	Alone   bool // the view's Isolated
}

// runChild is a member's process: it waits for a line on its input, by when
// its network is there, prints what it sees and leaves on SIGTERM.
func runChild(config string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	level := slog.LevelError
	if os.Getenv("HERALD_MEMBER_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	m, err := New(Options{Name: c.Name, Address: c.Address, Cluster: "lab", KeyDir: c.KeyDir, Secret: "herald-system/memberlist", Peers: c.Peers,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("self", c.Name), Metrics: NewMetrics()})
	if err != nil {
		return err
	}
	m.Publish(Local{Ready: true})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	print := json.NewEncoder(os.Stdout)
	last := map[string]sighting{}
	for {
		select {
		case err := <-done:
			return err
		case v := <-m.Views():
			for name, s := range v.Members {
				now := sighting{Name: name, Alive: s.Alive, Down: s.Down.String(), Session: s.Session, Witness: s.NeedsWitness, Alone: v.Isolated}
				if now != last[name] {
					last[name] = now
					now.At = time.Now().UnixNano()
					print.Encode(now)
				}
			}
		}
	}
}

// lab is a LAN with members.
type lab struct {
	t       *testing.T
	bridge  netlink.Link
	keyDir  string
	prefix  netip.Prefix
	size    int
	members []*labMember
}

type labMember struct {
	name  string
	addr  netip.Addr
	cable netlink.Link // the bridge's end
	host  netns.NsHandle
	cmd   *exec.Cmd
	seen  chan struct{} // gets one when there are new sightings
	read  chan struct{} // closed when its output has ended

	mu        sync.Mutex // guards the fields below
	sightings []sighting
}

// address is that of the i-th member.
func (l *lab) address(i int) netip.Addr {
	a := l.prefix.Addr()
	for range i + 1 {
		a = a.Next()
	}
	return a
}

// newLab makes the LAN and n members that know each other.
func newLab(t *testing.T, n int) *lab {
	t.Helper()
	return newLabOn(t, n, netip.MustParsePrefix("10.94.0.0/24"))
}

// newLabOn is newLab with the addresses of a prefix.
func newLabOn(t *testing.T, n int, prefix netip.Prefix) *lab {
	t.Helper()
	l := &lab{t: t, keyDir: oneKey(t), size: n, prefix: prefix}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Skipf("no bridge can be made here: %v", err)
	}
	l.bridge = bridge
	l.must(netlink.LinkSetUp(bridge))
	lo, err := netlink.LinkByName("lo")
	l.must(err)
	l.must(netlink.LinkSetUp(lo))
	l.must(netlink.AddrAdd(bridge, l.withPrefix(l.address(199))))
	t.Cleanup(l.close)
	for i := range n {
		l.members = append(l.members, &labMember{name: fmt.Sprintf("node-%d", i+1), addr: l.address(i), seen: make(chan struct{}, 1)})
		l.start(i)
	}
	l.awaitAll(n)
	return l
}

// close ends the members and takes the LAN away.
func (l *lab) close() {
	for _, m := range l.members {
		m.end()
	}
	l.members = nil
	netlink.LinkDel(l.bridge)
}

// kill kills a member's process. Its host stays, as the namespace is kept.
func (m *labMember) kill() {
	m.cmd.Process.Kill()
	<-m.read
	m.cmd.Wait()
}

// end kills a member's process and its host.
func (m *labMember) end() {
	m.kill()
	m.host.Close()
	netlink.LinkDel(m.cable)
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// start runs a member's process and plugs it in.
func (l *lab) start(i int) {
	l.t.Helper()
	m := l.members[i]
	var peers []netip.Addr
	for j := range l.size {
		peers = append(peers, l.address(j))
	}
	config, err := json.Marshal(childConfig{Name: m.name, Address: m.addr, Peers: peers, KeyDir: l.keyDir})
	l.must(err)
	m.cmd = exec.Command("/proc/self/exe")
	m.cmd.Env = append(os.Environ(), envChild+"="+string(config))
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := m.cmd.StdinPipe()
	l.must(err)
	out, err := m.cmd.StdoutPipe()
	l.must(err)
	l.must(m.cmd.Start())
	m.read = make(chan struct{})
	go m.watch(out, m.read)
	l.plug(i, m.cmd.Process.Pid)
	_, err = io.WriteString(in, "go\n")
	l.must(err)
}

// withPrefix is an address of the LAN as the kernel takes it, without waiting
// for the detection of duplicates.
func (l *lab) withPrefix(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(l.prefix.Bits(), a.BitLen())}, Flags: unix.IFA_F_NODAD}
}

// plug joins a process's namespace to the bridge.
func (l *lab) plug(i, pid int) {
	l.t.Helper()
	m := l.members[i]
	outside := fmt.Sprintf("port%d", i+1)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: outside, MasterIndex: l.bridge.Attrs().Index}, PeerName: "eth0",
		PeerNamespace: netlink.NsPid(pid), PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)}}
	l.must(netlink.LinkAdd(veth))
	cable, err := netlink.LinkByName(outside)
	l.must(err)
	m.cable = cable
	l.must(netlink.LinkSetUp(cable))
	m.host, err = netns.GetFromPid(pid)
	l.must(err)
	h, err := netlink.NewHandleAt(m.host)
	l.must(err)
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		l.must(err)
		if name == "eth0" {
			l.must(h.AddrAdd(link, l.withPrefix(m.addr)))
		}
		l.must(h.LinkSetUp(link))
	}
}

func (m *labMember) watch(out io.Reader, done chan struct{}) {
	defer close(done)
	for d := json.NewDecoder(out); ; {
		var s sighting
		if d.Decode(&s) != nil {
			return
		}
		m.mu.Lock()
		m.sightings = append(m.sightings, s)
		m.mu.Unlock()
		select {
		case m.seen <- struct{}{}:
		default:
		}
	}
}

func (m *labMember) signal(s syscall.Signal) { m.cmd.Process.Signal(s) }

// since returns the sightings of a member from a time on.
func (m *labMember) since(name string, from time.Time) []sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []sighting
	for _, s := range m.sightings {
		if s.Name == name && s.At >= from.UnixNano() {
			found = append(found, s)
		}
	}
	return found
}

// await returns the first sighting of a member, from a time on, that is as
// wanted.
func (l *lab) await(m *labMember, name string, from time.Time, wanted func(sighting) bool) sighting {
	l.t.Helper()
	timeout := time.After(15 * time.Second)
	for {
		if found := m.since(name, from); slices.ContainsFunc(found, wanted) {
			return found[slices.IndexFunc(found, wanted)]
		}
		select {
		case <-m.seen:
		case <-timeout:
			l.t.Fatalf("%s doesn't see what it should of %s; it saw %+v", m.name, name, m.since(name, from))
		}
	}
}

// awaitAll waits until each of the first n members has all others alive.
func (l *lab) awaitAll(n int) {
	l.t.Helper()
	for _, m := range l.members[:n] {
		for _, other := range l.members[:n] {
			l.awaitState(m, other.name, true)
		}
	}
}

// awaitState waits until the latest sighting of a member is alive or not.
func (l *lab) awaitState(m *labMember, name string, alive bool) {
	l.t.Helper()
	timeout := time.After(15 * time.Second)
	for {
		if s := m.since(name, time.Time{}); len(s) > 0 && s[len(s)-1].Alive == alive {
			return
		}
		select {
		case <-m.seen:
		case <-timeout:
			l.t.Fatalf("%s doesn't see %s alive=%v: %+v", m.name, name, alive, m.since(name, time.Time{}))
		}
	}
}

func (l *lab) cut(i int)  { l.t.Helper(); l.must(netlink.LinkSetDown(l.members[i].cable)) }
func (l *lab) mend(i int) { l.t.Helper(); l.must(netlink.LinkSetUp(l.members[i].cable)) }

// others returns all members but one.
func (l *lab) others(i int) []*labMember {
	return slices.Delete(slices.Clone(l.members), i, i+1)
}

// memory is a process's resident memory in bytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// load is the machine's load, for the log beside what was measured.
func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:1], "")
}

// processTime is the CPU time that a process has used.
func processTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
