package part

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The AS numbers of the node and of the routers.
const (
	nodeASN   = 64512
	routerASN = 64513
)

// bird is a BIRD in a network namespace of its own, joined to this one by a
// cable. It gives no route to a kernel.
type bird struct {
	address netip.Addr // the router's
	near    netip.Addr // this end of the cable
	conn    net.Conn   // its control socket
	reader  *bufio.Reader

	cmd *exec.Cmd
	log bytes.Buffer
}

const birdConfig = `router id %[1]v;
protocol device {}
protocol bgp node {
	local %[1]v as %[3]d;
	neighbor %[2]v as %[4]d;
	direct;
	passive on;
	graceful restart off;
	ipv4 { import all; export none; };
}
`

// startBIRD starts the router of that number, and waits until it listens.
func startBIRD(ctx context.Context, number int) (*bird, error) {
	b := &bird{near: netip.AddrFrom4([4]byte{10, 1, byte(number), 1}), address: netip.AddrFrom4([4]byte{10, 1, byte(number), 2})}
	file := func(suffix string) string { return fmt.Sprintf("/run/bird%d.%s", number, suffix) }
	config := fmt.Sprintf(birdConfig, b.address, b.near, routerASN, nodeASN)
	if err := os.WriteFile(file("conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	b.cmd = exec.CommandContext(ctx, "bird", "-f", "-c", file("conf"), "-s", file("ctl"), "-P", file("pid"))
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("BIRD: %w", err)
	}
	if err := b.plugIn(ctx, number); err != nil {
		return nil, err
	}
	return b, b.attend(ctx, file("ctl"))
}

// plugIn lays the cable.
func (b *bird) plugIn(ctx context.Context, number int) error {
	pid, near := strconv.Itoa(b.cmd.Process.Pid), fmt.Sprintf("to%d", number)
	inside := []string{"nsenter", "-t", pid, "-n"}
	for _, argv := range [][]string{
		{"ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "address", "add", b.near.String() + "/24", "dev", near},
		{"ip", "link", "set", near, "up"},
		append(inside, "ip", "address", "add", b.address.String()+"/24", "dev", "eth0"),
		append(inside, "ip", "link", "set", "eth0", "up"),
	} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
	}
	return nil
}

// attend connects to the control socket.
func (b *bird) attend(ctx context.Context, socket string) error {
	return within(ctx, 10*time.Second, 10*time.Millisecond, "BIRD to start", func() (err error) {
		if b.conn, err = net.Dial("unix", socket); err != nil {
			return fmt.Errorf("%w: %s", err, b.log.String())
		}
		b.reader = bufio.NewReader(b.conn)
		_, err = b.answer()
		return err
	})
}

// answer reads what BIRD says, up to the line that ends it: one that begins with
// a number and a space.
func (b *bird) answer() (string, error) {
	var all strings.Builder
	for {
		line, err := b.reader.ReadString('\n')
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		if len(line) > 4 && line[0] != ' ' && line[4] == ' ' {
			return all.String(), nil
		}
	}
}

var importedPattern = regexp.MustCompile(`Routes: +(\d+) imported`)

// routes is how many routes the router has by its session, or an error if that
// is not up.
func (b *bird) routes() (int, error) {
	if _, err := fmt.Fprintln(b.conn, "show protocols all node"); err != nil {
		return 0, err
	}
	text, err := b.answer()
	if err != nil {
		return 0, err
	}
	m := importedPattern.FindStringSubmatch(text)
	if m == nil || !strings.Contains(text, "Established") {
		return 0, errNoSession
	}
	return strconv.Atoi(m[1])
}

var errNoSession = errors.New("no session")

// within tries until try succeeds, each so often.
func within(ctx context.Context, limit, each time.Duration, what string, try func() error) error {
	for deadline := time.Now().Add(limit); ; {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), err))
		}
		time.Sleep(each)
	}
}
