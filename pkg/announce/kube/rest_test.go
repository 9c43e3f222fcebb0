package kube

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// TestFeedsAskForNoMoreThanTheyNeed pins the requests: RBAC allows these and no
// others.
func TestFeedsAskForNoMoreThanTheyNeed(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		asked[r.Method+" "+r.URL.Path+" "+q.Get("fieldSelector")+" "+q.Get("labelSelector")] = true
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer srv.Close()
	clients, err := NewClients(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	feeds := clients.Feeds("herald-system", "app=announcer")
	for _, f := range []interface {
		List(metav1.ListOptions) (runtime.Object, error)
	}{feeds.Services, feeds.EndpointSlices, feeds.Nodes, feeds.Config, feeds.Pods, feeds.Secret("tor")} {
		if _, err := f.List(metav1.ListOptions{}); err == nil {
			t.Error("a refusal was taken for an answer")
		}
	}
	want := map[string]bool{
		"GET /api/v1/services spec.type=LoadBalancer ":                                                             true,
		"GET /apis/discovery.k8s.io/v1/endpointslices  kubernetes.io/service-name,!service.kubernetes.io/headless": true,
		"GET /api/v1/nodes  ": true,
		"GET /api/v1/namespaces/herald-system/configmaps metadata.name=config-live ": true,
		"GET /api/v1/namespaces/herald-system/pods  app=announcer":                   true,
		"GET /api/v1/namespaces/herald-system/secrets metadata.name=tor ":            true,
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func decodeEvent(t *testing.T, r *http.Request) *corev1.Event {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	obj, _, err := serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*corev1.Event)
}

func TestRecorder(t *testing.T) {
	events := make(chan *corev1.Event, 10)
	failures := 1
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/shop/events" {
			t.Errorf("path %s", r.URL.Path)
		}
		if failures > 0 { // the first try only: requests come one after the other
			failures--
			http.Error(w, "busy", http.StatusInternalServerError)
			return
		}
		e := decodeEvent(t, r)
		events <- e
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		e.Kind, e.APIVersion = "Event", "v1"
		_ = json.NewEncoder(w).Encode(e)
	}))
	defer srv.Close()
	clients, err := NewClients(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := clients.Recorder(slog.New(slog.DiscardHandler), "n1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	first := Notice{Service: "shop/web", UID: "u1", Reason: "Announcing", Message: "here"}
	r.Record(first)
	r.Record(first) // the same news
	r.Record(Notice{Service: "shop/web", UID: "u1", Warning: true, Reason: "AddressConflict", Message: "there"})
	for i, want := range []string{"Normal Announcing here", "Warning AddressConflict there"} {
		e := <-events
		if got := strings.Join([]string{e.Type, e.Reason, e.Message}, " "); got != want {
			t.Errorf("event %d: %s, want %s", i, got, want)
		}
		if o := e.InvolvedObject; o.Kind != "Service" || o.Namespace != "shop" || o.Name != "web" || o.UID != "u1" {
			t.Errorf("event %d is about %+v", i, o)
		}
		if e.Source.Host != "n1" || e.FirstTimestamp.Time.Before(time.Now().Add(-time.Minute)) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 2 * eventQueue { // nobody reads: too much is dropped, not waited for
		r.Record(first)
	}
}
