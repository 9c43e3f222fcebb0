package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

// childLab names the lab that this test binary brings up, and nothing else,
// when it is run as a child to be killed.
const childLab = "HERALD_TEST_CHILD_LAB"

func TestMain(m *testing.M) {
	if name := os.Getenv(childLab); name != "" {
		if _, err := lab.Up(context.Background(), lab.Options{Name: name, Nodes: 1, Progress: os.Stdout}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("child is up")
		select {}
	}
	os.Exit(m.Run())
}

// needLab skips a test where there can be no lab.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("brings up a cluster: not in short mode")
	}
	if err := lab.Preflight(); err != nil {
		t.Skip(err)
	}
}

// testName is a name for a lab that no other run of the tests uses.
func testName(suffix string) string { return fmt.Sprintf("t%d-%s", os.Getpid()%100000, suffix) }

// bringUp brings a lab up for the test.
func bringUp(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	o.Progress = t.Output()
	l, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, o.Name)
	})
	return l
}

// web is a web server on every node, and a Service of both families.
const web = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: localhost/web:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: udp, protocol: UDP, port: 7777, targetPort: 7777, nodePort: 30777}
`

// deployWeb deploys it and waits until a Service address answers.
func deployWeb(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.Apply(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if out, err := l.Kubectl(t.Context(), "rollout", "status", "daemonset/web", "--timeout=60s"); err != nil {
		t.Fatal(out, err)
	}
	for _, url := range serviceURLs(t, l) {
		waitAnswer(t, l, l.Nodes()[0], url)
	}
}

func serviceURLs(t *testing.T, l *lab.Lab) []string {
	t.Helper()
	s, err := l.Client().CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, ip := range s.Spec.ClusterIPs {
		urls = append(urls, "http://"+net.JoinHostPort(ip, "80")+"/")
	}
	return urls
}

func waitAnswer(t *testing.T, l *lab.Lab, host, url string) {
	t.Helper()
	err := l.WaitFor(t.Context(), lab.Wait{
		What: url + " to answer " + host, Timeout: 30 * time.Second,
		Done: func(ctx context.Context) (bool, string) {
			body, err := l.Get(ctx, host, url)
			return err == nil && strings.HasPrefix(body, "pod="), fmt.Sprint(body, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLab(t *testing.T) {
	needLab(t)
	before := interfaces(t)
	l := bringUp(t, lab.Options{Name: testName("lab"), AuditLog: true})
	deployWeb(t, l)
	t.Run("answers the client", func(t *testing.T) { testAnswers(t, l) })
	t.Run("who has", func(t *testing.T) { testWhoHas(t, l) })
	t.Run("audit log", func(t *testing.T) { testAuditLog(t, l) })
	t.Run("extra hosts", func(t *testing.T) { testExtraHosts(t, l) })
	t.Run("lose frames", func(t *testing.T) { testLoss(t, l) })
	t.Run("kill a process", func(t *testing.T) { testKill(t, l) })
	t.Run("API server stopped", func(t *testing.T) { testAPIServer(t, l) })
	t.Run("load an image", func(t *testing.T) { testLoad(t, l) })
	t.Run("faults", func(t *testing.T) {
		// A node each, side by side: the control plane takes its time to notice.
		t.Run("power off and on n1", func(t *testing.T) { t.Parallel(); testPower(t, l) })
		t.Run("freeze and thaw n2", func(t *testing.T) { t.Parallel(); testFreeze(t, l) })
		t.Run("cut and mend n3", func(t *testing.T) { t.Parallel(); testCut(t, l) })
	})
	if after := interfaces(t); !slices.Equal(before, after) {
		t.Errorf("the machine's own interfaces were %v and are %v", before, after)
	}
}

// interfaces are those of the machine's own namespace.
func interfaces(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func testAnswers(t *testing.T, l *lab.Lab) {
	for _, node := range l.Nodes() {
		addresses, err := l.NodeAddresses(node)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			waitAnswer(t, l, lab.Client, "http://"+netip.AddrPortFrom(a, 30080).String()+"/")
			conn, err := l.Dial(t.Context(), lab.Client, "udp", netip.AddrPortFrom(a, 30777).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			buf := make([]byte, 512)
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "pod=") {
				t.Errorf("UDP to %v: %q, %v", a, buf[:n], err)
			}
		}
	}
}

func testWhoHas(t *testing.T, l *lab.Lab) {
	for _, tt := range []struct{ address, host string }{
		{"192.168.31.12", "n2"}, {"fd31::12", "n2"}, {"192.168.31.1", "router"}, {"fd31::1", "router"},
		{"192.168.31.250", ""}, {"fd31::250", ""},
	} {
		got, err := l.WhoHas(t.Context(), lab.Client, netip.MustParseAddr(tt.address))
		if err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, a := range got {
			hosts = append(hosts, a.Host)
		}
		if strings.Join(hosts, " ") != tt.host {
			t.Errorf("who has %s: %v, want %q", tt.address, got, tt.host)
		}
	}
	a := netip.MustParseAddr("192.168.31.12")
	if got, ok, err := l.Neighbour(lab.Client, a); err != nil || !ok || got.Host != "n2" {
		t.Errorf("the client's neighbour %v: %v %v %v, want n2", a, got, ok, err)
	}
}

func testAuditLog(t *testing.T, l *lab.Lab) {
	log, err := os.ReadFile(l.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), `"verb":"create"`) {
		t.Error("no creation in the audit log")
	}
}

func testExtraHosts(t *testing.T, l *lab.Lab) {
	if err := l.AddHost("second"); err != nil {
		t.Fatal(err)
	}
	waitAnswer(t, l, "second", "http://192.168.31.11:30080/")
	near, far := netip.MustParsePrefix("172.20.0.1/24"), netip.MustParsePrefix("172.20.0.2/24")
	if err := l.AddFarHost("far", lab.Router, near, far); err != nil {
		t.Fatal(err)
	}
	waitAnswer(t, l, "far", "http://192.168.31.11:30080/")
	before, err := l.Counters("far", lab.Router)
	if err != nil {
		t.Fatal(err)
	}
	waitAnswer(t, l, "far", "http://192.168.31.11:30080/")
	if after, err := l.Counters("far", lab.Router); err != nil || after.RxPackets <= before.RxPackets {
		t.Errorf("packets received were %d and are %d; %v", before.RxPackets, after.RxPackets, err)
	}
}

// testLoss loses frames of the router, whom no test needs meanwhile.
func testLoss(t *testing.T, l *lab.Lab) {
	address := netip.MustParseAddr("fd31::1")
	for _, tt := range []struct{ percent, answers int }{{100, 0}, {0, 1}} {
		if err := l.LoseFrames(t.Context(), lab.Router, tt.percent); err != nil {
			t.Fatal(err)
		}
		if got, err := l.WhoHas(t.Context(), lab.Client, address); err != nil || len(got) != tt.answers {
			t.Errorf("with %d %% lost, %v and %v answer", tt.percent, got, err)
		}
	}
	if err := l.LoseFrames(t.Context(), lab.Router, 101); err == nil {
		t.Error("no error for 101 %")
	}
}

func testKill(t *testing.T, l *lab.Lab) {
	before, err := l.Pids("n2", "web")
	if err != nil || len(before) != 1 {
		t.Fatalf("n2 runs web as %v, want one process; %v", before, err)
	}
	if err := l.KillProcess("n2", "web", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = l.WaitFor(t.Context(), lab.Wait{
		What: "n2 to run web again", Timeout: 30 * time.Second,
		Done: func(context.Context) (bool, string) {
			now, err := l.Pids("n2", "web")
			return len(now) == 1 && now[0] != before[0], fmt.Sprint(now, err)
		},
	})
	if err != nil {
		t.Error(err)
	}
	if err := l.KillProcess("n2", "no-such-program", unix.SIGKILL); err == nil {
		t.Error("no error for a program that does not run")
	}
}

func testAPIServer(t *testing.T, l *lab.Lab) {
	get := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := l.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err
	}
	if err := l.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := get(); err == nil {
		t.Error("the API server answers while it is stopped")
	}
	if err := l.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.FreezeEtcd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := get(); err == nil {
		t.Error("the API server lists nodes while etcd is frozen")
	}
	if err := l.ThawEtcd(); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Errorf("after thawing etcd: %v", err)
	}
}

func testLoad(t *testing.T, l *lab.Lab) {
	archive := filepath.Join(t.TempDir(), "other.tar")
	img := otherImage(t)
	if err := img.WriteFile(archive); err != nil {
		t.Fatal(err)
	}
	if err := l.Load(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Nodes() {
		out, err := l.NodeExec(t.Context(), n, "ctr", "-n", "k8s.io", "images", "ls", "-q")
		if err != nil || !strings.Contains(out, img.Name) {
			t.Errorf("images of %s: %s; %v", n, out, err)
		}
	}
}

func testCut(t *testing.T, l *lab.Lab) {
	cut, stopCut, err := l.Probe(lab.Client, probe.Options{Target: netip.MustParseAddrPort("[fd31::13]:30080")})
	if err != nil {
		t.Fatal(err)
	}
	answered := func() int { return cut.Report().Answered }
	waitCount(t, l, "the probes of n3 to be answered", answered)
	if err := l.CutCable("n3"); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitNodeNotReady(t.Context(), "n3"); err != nil {
		t.Error(err)
	}
	if err := l.MendCable("n3"); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitNodesReady(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	waitCount(t, l, "the probes of n3 to be answered again", answered)
	report, err := stopCut()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if report.Worst() < 10*time.Second || len(report.Failures) == 0 {
		t.Errorf("the cut was not noticed: %v", report)
	}
}

// waitCount waits until a count has gone up.
func waitCount(t *testing.T, l *lab.Lab, what string, count func() int) {
	t.Helper()
	start := count()
	err := l.WaitFor(t.Context(), lab.Wait{What: what, Timeout: 60 * time.Second, Done: func(context.Context) (bool, string) {
		return count() > start, fmt.Sprint(count())
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func testFreeze(t *testing.T, l *lab.Lab) {
	if err := l.Freeze(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	// The kernel answers for it, its processes don't.
	if got, err := l.WhoHas(t.Context(), lab.Client, netip.MustParseAddr("192.168.31.12")); err != nil || len(got) != 1 {
		t.Errorf("ARP of a frozen node: %v, %v", got, err)
	}
	for _, run := range []func(context.Context, string, ...string) (string, error){l.Exec, l.NodeExec} {
		if out, err := run(t.Context(), "n2", "ip", "-br", "link", "show", "eth0"); err != nil || !strings.Contains(out, "UP") {
			t.Errorf("a look at a frozen node: %q, %v", out, err)
		}
	}
	if err := l.WaitNodeNotReady(t.Context(), "n2"); err != nil {
		t.Error(err)
	}
	if err := l.Thaw("n2"); err != nil {
		t.Fatal(err)
	}
	if err := l.WaitNodesReady(t.Context(), "n2"); err != nil {
		t.Error(err)
	}
}

func testPower(t *testing.T, l *lab.Lab) {
	if err := l.PowerOff(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if pids, err := l.Pids("n1", "kubelet"); err != nil || len(pids) > 0 {
		t.Errorf("kubelet of a node that is off: %v, %v", pids, err)
	}
	if _, err := l.NodeExec(t.Context(), "n1", "true"); err == nil {
		t.Error("a node that is off ran a command")
	}
	if err := l.WaitNodeNotReady(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
	if err := l.PowerOn(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "n1"); err == nil {
		t.Error("a node was powered on twice")
	}
	if err := l.WaitNodesReady(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
	waitAnswer(t, l, lab.Client, "http://192.168.31.11:30080/")
}

func TestIPv6Only(t *testing.T) {
	needLab(t)
	l := bringUp(t, lab.Options{Name: testName("six"), Nodes: 2, Addressing: lab.IPv6Only})
	deployWeb(t, l)
	waitAnswer(t, l, lab.Client, "http://[fd31::11]:30080/")
	out, err := l.Exec(t.Context(), "n1", "ip", "-4", "-o", "addr", "show", "dev", "eth0")
	if err != nil || out != "" {
		t.Errorf("IPv4 addresses of n1: %q, %v", out, err)
	}
}

func TestExternalCloudProvider(t *testing.T) {
	needLab(t)
	l := bringUp(t, lab.Options{Name: testName("ext"), Nodes: 1, CloudProvider: lab.External})
	n, err := l.Client().CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, taint := range n.Spec.Taints {
		if taint.Key == "node.cloudprovider.kubernetes.io/uninitialized" {
			return
		}
	}
	t.Errorf("taints of n1: %v, want one that says that it is not initialized", n.Spec.Taints)
}

func TestTwoLabsSideBySide(t *testing.T) {
	needLab(t)
	for _, suffix := range []string{"one", "two"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			l := bringUp(t, lab.Options{Name: testName(suffix), Nodes: 1})
			deployWeb(t, l)
			waitAnswer(t, l, lab.Client, "http://192.168.31.11:30080/")
			if _, err := lab.Up(t.Context(), lab.Options{Name: l.Name(), Nodes: 1}); err == nil || !strings.Contains(err.Error(), "lab down") {
				t.Errorf("a second lab of the same name: %v, want an error that says what to do", err)
			}
			// Down must end what is frozen as well.
			if err := errors.Join(l.Freeze(t.Context(), "n1"), l.FreezeEtcd(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailedUpLeavesNothing(t *testing.T) {
	needLab(t)
	t.Run("missing image", func(t *testing.T) {
		name := testName("img")
		if _, err := lab.Up(t.Context(), lab.Options{Name: name, Images: []string{"/no/such/image.tar"}}); err == nil {
			t.Error("no error")
		}
		wantNothingLeft(t, name)
	})
	for _, after := range []time.Duration{300 * time.Millisecond, 3 * time.Second} {
		t.Run(fmt.Sprint("interrupted after ", after), func(t *testing.T) {
			name := testName("stop")
			stop := errors.New("stopped by the test")
			ctx, cancel := context.WithTimeoutCause(t.Context(), after, stop)
			defer cancel()
			if l, err := lab.Up(ctx, lab.Options{Name: name}); err == nil {
				t.Error("up all the same")
				l.Down(t.Context())
			}
			wantNothingLeft(t, name)
		})
	}
}

func TestLabGoesWithItsProcess(t *testing.T) {
	needLab(t)
	name := testName("kid")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childLab+"="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Down(context.Background(), name) })
	var said strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), "child is up") {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("the child ended: %v\n%s", err, said.String())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	wantNothingLeftSoon(t, name)
}

func TestUpRefuses(t *testing.T) {
	needLab(t)
	for _, tt := range []struct {
		name string
		o    lab.Options
		want string
	}{
		{"name", lab.Options{Name: "Not Good"}, "lower-case"},
		{"nodes", lab.Options{Nodes: 1000}, "1 to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := lab.Up(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one that says %q", err, tt.want)
			}
		})
	}
	if _, err := lab.Open(testName("none"), t.Output()); err == nil || !strings.Contains(err.Error(), "lab up") {
		t.Errorf("open a lab that is not: %v, want an error that says what to do", err)
	}
}
