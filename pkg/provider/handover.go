package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"
)

// fence stands between this process and the API server. Once it is closed, no
// write passes: the next leader may start from what the API shows, and nothing
// that this process had begun comes after.
type fence struct {
	mu     sync.Mutex // guards the fields below
	closed bool
	writes int
	idle   chan struct{} // closed when the fence is closed and no write is under way
}

func newFence() *fence { return &fence{idle: make(chan struct{})} }

// errFenced is the error of writes after the fence was closed.
var errFenced = errors.New("this process is handing over and writes no more")

// wrap puts the fence around a transport.
func (f *fence) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return next.RoundTrip(r)
		}
		if !f.enter() {
			return nil, errFenced
		}
		defer f.leave()
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip is part of http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f *fence) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.writes++
	return true
}

func (f *fence) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writes--; f.closed && f.writes == 0 {
		close(f.idle)
	}
}

// close lets no write begin any more, and waits for those under way.
func (f *fence) close(ctx context.Context) error {
	f.mu.Lock()
	if !f.closed && f.writes == 0 {
		close(f.idle)
	}
	f.closed = true
	f.mu.Unlock()
	select {
	case <-f.idle:
		return nil
	case <-ctx.Done():
		return errors.New("a write to the API server did not end in time")
	}
}

// releaseLease gives up leadership, so that another replica takes over at its
// next try instead of waiting for the lease to run out. The client must not be
// behind the fence; the caller must be the leader and behind a closed one.
func releaseLease(ctx context.Context, leases coordination.LeaseInterface, name string) error {
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("lease %s: %w", name, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("lease %s: %w", name, err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); !strings.HasPrefix(holder, host+"_") {
		return fmt.Errorf("lease %s is held by %q, not by this process", name, holder)
	}
	now := metav1.NowMicro()
	lease.Spec.HolderIdentity = ptr.To("")
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(1))
	lease.Spec.RenewTime, lease.Spec.AcquireTime = &now, &now
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("lease %s: %w", name, err)
	}
	return nil
}
