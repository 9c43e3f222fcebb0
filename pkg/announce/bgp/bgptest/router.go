package bgptest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FRR's programs, for the list of what a test needs.
var FRR = []string{"/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", "/usr/lib/frr/bfdd", "vtysh"}

// BIRD's programs.
var BIRD = []string{"bird", "birdc"}

// Router is a host with a router's daemons, in a network namespace next to the
// test's.
type Router struct {
	Name string
	t    *testing.T
	dir  string // of files for and by the daemons
}

// Link is the addresses of both ends of a cable, each with its length:
// "192.0.2.1/24".
type Link struct{ Node, Router []string }

// NewRouter makes a router and connects it with the node. The node's end of
// the cable is called "to-" and the name, the router's "node".
func NewRouter(t *testing.T, name string, l Link) *Router {
	t.Helper()
	r := newHost(t, name)
	r.connect(func(args ...string) { Command(t, "ip", args...) }, l)
	return r
}

// Behind makes a router that is one hop further away from the node than r, and
// connects the two. The link's Node end is r's; the interfaces are called as
// NewRouter does it.
func (r *Router) Behind(name string, l Link) *Router {
	r.t.Helper()
	far := newHost(r.t, name)
	far.connect(func(args ...string) { r.IP(args...) }, l)
	return far
}

// newHost makes a network namespace that forwards packets.
func newHost(t *testing.T, name string) *Router {
	t.Helper()
	r := &Router{Name: name, t: t, dir: t.TempDir()}
	Command(t, "ip", "netns", "add", name)
	r.IP("link", "set", "dev", "lo", "up")
	r.Exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1")
	return r
}

// connect lays a cable to where ip runs.
func (r *Router) connect(ip func(args ...string), l Link) {
	r.t.Helper()
	near := "to-" + r.Name
	ip("link", "add", "dev", near, "type", "veth", "peer", "name", "node", "netns", r.Name)
	for _, a := range l.Node {
		ip("address", "add", a, "dev", near, "nodad")
	}
	ip("link", "set", "dev", near, "up")
	for _, a := range l.Router {
		r.IP("address", "add", a, "dev", "node", "nodad")
	}
	r.IP("link", "set", "dev", "node", "up")
}

// IP runs ip in the router's namespace.
func (r *Router) IP(args ...string) string {
	r.t.Helper()
	return Command(r.t, "ip", append([]string{"-n", r.Name}, args...)...)
}

// Exec runs a program in the router's namespace.
func (r *Router) Exec(args ...string) string {
	r.t.Helper()
	return Command(r.t, "ip", append([]string{"netns", "exec", r.Name}, args...)...)
}

// StartFRR starts zebra, bgpd and bfdd with one configuration file.
func (r *Router) StartFRR(config string) {
	r.t.Helper()
	etc, run := "/etc/frr/"+r.Name, "/run/frr/"+r.Name
	uid, gid := frrUser(r.t)
	for _, dir := range []string{etc, run, "/run/frr", "/etc/frr", r.dir} {
		r.check(os.MkdirAll(dir, 0o755))
		r.check(os.Chown(dir, uid, gid))
	}
	for dir := filepath.Dir(r.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		r.check(os.Chmod(dir, 0o755)) // the daemons write their logs below
	}
	for name, text := range map[string]string{"vtysh.conf": "", "frr.conf": config} {
		path := filepath.Join(etc, name)
		r.check(os.WriteFile(path, []byte(text), 0o644))
		r.check(os.Chown(path, uid, gid))
	}
	for _, daemon := range []string{"zebra", "bgpd", "bfdd"} {
		r.Exec("/usr/lib/frr/"+daemon, "-N", r.Name, "-d", "-u", "frr", "-g", "frr",
			"-i", filepath.Join(run, daemon+".pid"), "--log", "file:"+filepath.Join(r.dir, daemon+".log"))
	}
	Eventually(r.t, 10*time.Second, "FRR reads its configuration", func() error {
		out, err := exec.Command("vtysh", "-N", r.Name, "-b").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func frrUser(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("frr")
	if err != nil {
		t.Skipf("FRR's user: %v", err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

func (r *Router) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// Vtysh runs commands of FRR's shell, one after the other.
func (r *Router) Vtysh(commands ...string) string {
	r.t.Helper()
	out, err := r.TryVtysh(commands...)
	if err != nil {
		r.t.Fatalf("%s: vtysh %q: %v\n%s", r.Name, commands, err, out)
	}
	return out
}

// TryVtysh is Vtysh for commands that may fail.
func (r *Router) TryVtysh(commands ...string) (string, error) {
	args := []string{"-N", r.Name}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command("vtysh", args...).CombinedOutput()
	return string(out), err
}

// Configure runs lines in FRR's configuration mode.
func (r *Router) Configure(lines ...string) {
	r.t.Helper()
	r.Vtysh(append([]string{"configure terminal"}, lines...)...)
}

// KillFRR ends one of FRR's daemons by the signal's name, as "KILL".
func (r *Router) KillFRR(daemon, signal string) {
	r.t.Helper()
	pid, err := os.ReadFile("/run/frr/" + r.Name + "/" + daemon + ".pid")
	r.check(err)
	Command(r.t, "kill", "-s", signal, strings.TrimSpace(string(pid)))
}

// StartBIRD starts BIRD with a configuration.
func (r *Router) StartBIRD(config string) {
	r.t.Helper()
	r.Exec("bird", "-c", r.writeBIRD(config), "-s", r.birdSocket(), "-P", filepath.Join(r.dir, "bird.pid"))
}

// ReconfigureBIRD gives a running BIRD another configuration.
func (r *Router) ReconfigureBIRD(config string) {
	r.t.Helper()
	r.writeBIRD(config)
	r.Birdc("configure")
}

func (r *Router) writeBIRD(config string) (file string) {
	r.t.Helper()
	file = filepath.Join(r.dir, "bird.conf")
	log := fmt.Sprintf("log %q all;\ndebug protocols { states, events };\n", filepath.Join(r.dir, "bird.log"))
	r.check(os.WriteFile(file, []byte(log+config), 0o644))
	return file
}

func (r *Router) birdSocket() string { return filepath.Join(r.dir, "bird.ctl") }

// Birdc runs a command of BIRD's shell.
func (r *Router) Birdc(args ...string) string {
	r.t.Helper()
	return Command(r.t, "birdc", append([]string{"-s", r.birdSocket()}, args...)...)
}

// TryBirdc is Birdc for commands that may fail, as for a route that is not
// there.
func (r *Router) TryBirdc(args ...string) (string, error) {
	out, err := exec.Command("birdc", append([]string{"-s", r.birdSocket()}, args...)...).CombinedOutput()
	return string(out), err
}

// Logs returns what the daemons have written, for a failed test.
func (r *Router) Logs() string {
	var s strings.Builder
	files, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		fmt.Fprintf(&s, "== %s\n%s", filepath.Base(f), b)
	}
	return s.String()
}
