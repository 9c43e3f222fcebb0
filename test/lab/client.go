package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/herald-lb/herald/test/internal/netns"
)

// connect makes the client of the API server.
func (l *Lab) connect() error {
	config, err := l.RESTConfig()
	if err != nil {
		return err
	}
	l.client, err = kubernetes.NewForConfig(config)
	return err
}

// Client is a client with all rights, from the host of the control plane.
func (l *Lab) Client() kubernetes.Interface { return l.client }

// RESTConfig is for making other clients that reach the API server from this
// process. They share nothing with [Lab.Client].
func (l *Lab) RESTConfig() (*rest.Config, error) {
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            l.server(),
		BearerToken:     userAdmin,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca},
		QPS:             1000, Burst: 2000,
		Dial:  l.dialControlPlane,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}, nil
}

// trackedConn leaves the lab's list when it is closed.
type trackedConn struct {
	net.Conn
	closed func()
}

func (c *trackedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// dialControlPlane connects from the control plane's host. An open connection
// would keep the host's namespace from going away, so that Down closes them.
func (l *Lab) dialControlPlane(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := netns.Dial(ctx, l.state.Namespace(ControlPlane), network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn}
	tracked.closed = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, tracked)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[tracked] = struct{}{}
	return tracked, nil
}

// waitAPIServer waits until the API server is ready.
func (l *Lab) waitAPIServer(ctx context.Context) error {
	return l.WaitFor(ctx, Wait{
		What: "the API server to be ready", Timeout: 3 * time.Minute,
		Logs: []string{l.state.Log(etcd), l.state.Log(apiServer)},
		Done: func(ctx context.Context) (bool, string) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			answer, err := l.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
			if err == nil {
				return true, ""
			}
			return false, unready(err, answer)
		},
	})
}

// unready says what the API server still lacks: the checks it marks so, or that
// it does not answer.
func unready(err error, answer []byte) string {
	var failed []string
	for line := range strings.Lines(string(answer)) {
		if check, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(check, " ")
			failed = append(failed, name)
		}
	}
	if len(failed) > 0 {
		return "still at " + strings.Join(failed, ", ")
	}
	return err.Error()
}

// Kubectl runs kubectl with all rights and returns what it printed; its error
// has what it complained of.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	return l.kubectl(ctx, nil, args)
}

// Apply applies manifests, as "kubectl apply -f" does.
func (l *Lab) Apply(ctx context.Context, manifests string) error {
	_, err := l.kubectl(ctx, []byte(manifests), []string{"apply", "-f", "-"})
	return err
}

func (l *Lab) kubectl(ctx context.Context, stdin []byte, args []string) (string, error) {
	cmd, err := l.state.Command(ctx, ControlPlane, l.KubectlCommand(args...)...)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// KubectlCommand is the command line that runs kubectl on the control plane's
// host, for [Lab.Command].
func (l *Lab) KubectlCommand(args ...string) []string {
	return append([]string{filepath.Join(l.state.Bin, "kubectl"), "--kubeconfig", l.pki("admin.conf"), "--cache-dir", filepath.Join(l.Dir(), "kubectl-cache")}, args...)
}
