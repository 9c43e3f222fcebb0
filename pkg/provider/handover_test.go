package provider

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFence()
		through := f.wrap(roundTripper(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return &http.Response{}, nil
		}))
		send := func(method string) error {
			r, err := http.NewRequest(method, "http://example.org", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = through.RoundTrip(r)
			return err
		}
		begun := make(chan error, 1)
		go func() { begun <- send(http.MethodPatch) }()
		synctest.Wait()

		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := f.close(short); err == nil {
			t.Error("closed although a write is under way")
		}
		if err := send(http.MethodPost); !errors.Is(err, errFenced) {
			t.Errorf("a write after closing gives %v", err)
		}
		if err := send(http.MethodGet); err != nil {
			t.Errorf("reading after closing gives %v", err)
		}
		if err := f.close(t.Context()); err != nil {
			t.Errorf("closing again gives %v", err)
		}
		if err := <-begun; err != nil {
			t.Errorf("the write under way gives %v", err)
		}
	})
}

func TestFenceIdle(t *testing.T) {
	f := newFence()
	for range 2 {
		if err := f.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestReleaseLease(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for holder, released := range map[string]bool{host + "_1": true, "elsewhere_1": false, "": false} {
		client := fake.NewClientset(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "herald-system", Name: "x"},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To(int32(10))},
		})
		leases := client.CoordinationV1().Leases("herald-system")
		if err := releaseLease(t.Context(), leases, "x"); (err == nil) != released {
			t.Errorf("held by %q: %v", holder, err)
		}
		lease, err := leases.Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if released && (*lease.Spec.HolderIdentity != "" || *lease.Spec.LeaseDurationSeconds != 1) {
			t.Errorf("released lease is %+v", lease.Spec)
		}
		if !released && *lease.Spec.HolderIdentity != holder {
			t.Errorf("a lease of %q is now of %q", holder, *lease.Spec.HolderIdentity)
		}
	}
}
