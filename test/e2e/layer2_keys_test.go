package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/herald-lb/herald/test/herald"
)

// A new key beside the old one, and later alone: no member is lost and nothing
// moves.
func TestKeyRotation(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "keys", 2)
	secrets := c.Client().CoreV1().Secrets(herald.Namespace)
	secret, err := secrets.Get(t.Context(), "memberlist", metav1.GetOptions{})
	c.must(t, err)
	old := secret.Data["secretkey"]
	down := c.sum(t, "herald_member_down_total")
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.both())

	secret.Data["secretkey"], secret.Data["old"] = []byte(strings.Repeat("new key, ", 5)), old
	secret, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	c.must(t, err)
	c.keysHeld(t, 2)
	delete(secret.Data, "old")
	_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	c.must(t, err)
	c.keysHeld(t, 1)

	time.Sleep(2 * time.Second)
	asking.none(t)
	unmoved(t, o, s.addresses)
	if n := c.sum(t, "herald_member_down_total") - down; n != 0 {
		t.Errorf("members were found down %v times", n)
	}
	c.must(t, c.WaitMembers(context.Background()))
}

// keysHeld waits until every announcer holds so many keys and waits for none.
func (c *cluster) keysHeld(t *testing.T, n float64) {
	t.Helper()
	// A kubelet renews the files of a pod that is changed at once.
	pods, err := c.Client().CoreV1().Pods(herald.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=announcer"})
	c.must(t, err)
	for _, p := range pods.Items {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"e2e-keys":"%d"}}}`, time.Now().UnixNano())
		_, err := c.Client().CoreV1().Pods(p.Namespace).Patch(t.Context(), p.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		c.must(t, err)
	}
	took := eventually(t, 3*time.Minute, fmt.Sprintf("all announcers hold %v keys", n), func() error {
		for _, node := range c.Nodes() {
			text, err := c.Metrics(context.Background(), node)
			if err != nil {
				return err
			}
			held, waiting := herald.Metric(text, "herald_member_keys", `use="held"`), herald.Metric(text, "herald_member_keys", `use="waiting"`)
			if held != n || waiting != 0 {
				return fmt.Errorf("%s holds %v, waiting %v", node, held, waiting)
			}
		}
		return nil
	})
	t.Logf("all announcers held %v keys after %v", n, took.Round(time.Second))
}
