package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	restartTimeout = 2 * time.Minute
	// restartSettles is how long writes are counted for after the controller
	// works again: longer than it takes to look at every Service once.
	restartSettles = 10 * time.Second
)

func restart() Benchmark {
	return Benchmark{
		Name:  "restart",
		About: "the controllers are restarted while all Services have their addresses, and a Service is created at the same moment",
		Run:   runRestart,
	}
}

// restartKind is a way to restart.
type restartKind struct {
	name string
	goal string
	end  func(ctx context.Context, c *cluster) ([]corev1.Pod, error) // ends some, and returns those to renew
}

func restartKinds() []restartKind {
	all := func(ctx context.Context, c *cluster) ([]corev1.Pod, error) {
		pods, err := c.pods(ctx, controllerProgram)
		for _, p := range pods {
			err = errors.Join(err, c.end(ctx, p, controllerProgram))
		}
		return pods, err
	}
	leader := func(sig unix.Signal) func(context.Context, *cluster) ([]corev1.Pod, error) {
		return func(ctx context.Context, c *cluster) ([]corev1.Pod, error) {
			p, err := c.leader(ctx)
			if err != nil {
				return nil, err
			}
			return []corev1.Pod{p}, c.signal(p, controllerProgram, sig)
		}
	}
	return []restartKind{
		{"all told to stop", "", all},
		{"leader told to stop", "< 2 s", leader(unix.SIGTERM)},
		{"leader killed", "< 15 s", leader(unix.SIGKILL)},
	}
}

func runRestart(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	remove, err := c.namespace(ctx, "burst")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	services, err := c.services("burst")
	if err != nil {
		return Result{}, err
	}
	if err := createAndWait(ctx, services, serviceNames("s", e.Services), nil); err != nil {
		return Result{}, err
	}
	for _, kind := range restartKinds() {
		writes := Row{Name: kind.name + ": writes to Services", Goal: "0"}
		took := Row{Name: kind.name + ": until a new Service has its address", Unit: "s", Goal: kind.goal}
		for run := range e.Runs {
			seconds, n, err := c.restartOnce(ctx, kind, fmt.Sprintf("new-%d", run))
			if err != nil {
				result.Rows = append(result.Rows, missing(kind.name, err))
				break
			}
			e.say("%s: %.2f s, %d writes", kind.name, seconds, n)
			writes.Values, took.Values = append(writes.Values, float64(n)), append(took.Values, seconds)
		}
		if len(took.Values) > 0 {
			result.Rows = append(result.Rows, writes, took)
		}
	}
	result.Notes = []string{
		fmt.Sprintf("%d Services have their addresses. Writes are those of Herald's programs to these, by the API server's audit log, from the restart until %v after the new Service has its address.", e.Services, restartSettles),
	}
	return result, nil
}

// restartOnce restarts once, and counts the writes that it took to Services that
// have what they need.
func (c *cluster) restartOnce(ctx context.Context, kind restartKind, name string) (seconds float64, writes int, err error) {
	services, err := c.services("burst")
	if err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, 2*time.Second); err != nil { // for writes that are under way
		return 0, 0, err
	}
	mark, err := markAudit(c.AuditLog())
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	renew, err := kind.end(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	if _, err := services.Create(ctx, newService(name, nil), metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	at, err := c.waitAddress(ctx, "burst", name)
	if err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, restartSettles); err != nil {
		return 0, 0, err
	}
	writes, err = mark.count(func(w auditEvent) bool {
		return w.isServiceWrite() && isHerald(w.User.Username) && !strings.HasPrefix(w.ObjectRef.Name, "new-")
	})
	err = errors.Join(err, services.Delete(ctx, name, metav1.DeleteOptions{}), c.renew(ctx, renew...))
	return at.Sub(start).Seconds(), writes, err
}

// waitAddress waits until a Service has an address, and returns when it had.
func (c *cluster) waitAddress(ctx context.Context, ns, name string) (time.Time, error) {
	deadline := time.Now().Add(restartTimeout)
	for {
		s, err := c.Client().CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil && len(s.Status.LoadBalancer.Ingress) > 0 {
			return time.Now(), nil
		}
		if time.Now().After(deadline) {
			return time.Time{}, fmt.Errorf("%s has no address after %v (last error: %v)", name, restartTimeout, err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, err
		}
	}
}
