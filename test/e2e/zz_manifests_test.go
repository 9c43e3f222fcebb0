package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An access is what a rule of RBAC grants and what a request in the audit log uses.
type access struct{ account, verb, group, resource string }

func (a access) String() string {
	return fmt.Sprintf("%s: %s %s", a.account, a.verb, strings.TrimPrefix(a.group+"/"+a.resource, "/"))
}

// auditEvent is the part of audit.k8s.io/v1 Event that the tests read.
type auditEvent struct {
	Stage       string
	Verb        string
	User        struct{ Username string }
	ObjectRef   *struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	Annotations map[string]string
}

// Who used which access on any of the clusters that the tests brought up, and
// what was not allowed.
var (
	used    = map[access]int{}
	refused = map[access]int{}
)

// audit reads the API server's audit log.
func (c *cluster) audit(t *testing.T, each func(auditEvent)) {
	t.Helper()
	f, err := os.Open(c.AuditLog())
	c.must(t, err)
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return // what is left is a line that is being written
		}
		c.must(t, err)
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("audit log: %v", err)
		}
		if e.Stage == "ResponseComplete" || e.Stage == "ResponseStarted" && e.Verb == "watch" {
			each(e)
		}
	}
}

// takeNote reads from a cluster's audit log what Herald did on it.
func (c *cluster) takeNote(t *testing.T) {
	t.Helper()
	c.audit(t, func(e auditEvent) {
		account, ours := strings.CutPrefix(e.User.Username, "system:serviceaccount:herald-system:")
		if !ours || e.ObjectRef == nil {
			return
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		a := access{account, e.Verb, e.ObjectRef.APIGroup, resource}
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			refused[a]++
			return
		}
		used[a]++
	})
}

// Herald may do what it does, and nothing else. That holds at the end of all
// that the other tests made it do, so this test's name puts it last.
func TestZZPermissionsAreThoseUsed(t *testing.T) {
	c := onCluster(t)
	c.takeNote(t)
	for a, n := range refused {
		if used[a] > 0 {
			continue // an API server that starts knows no roles yet
		}
		t.Errorf("not allowed, %d times: %v", n, a)
	}
	granted := c.granted(t)
	for _, a := range slices.SortedFunc(maps.Keys(granted), func(a, b access) int { return strings.Compare(a.String(), b.String()) }) {
		watched := a
		watched.verb = "watch"
		if a.verb == "list" && used[watched] > 0 {
			continue // API servers older than 1.34 can't stream lists: client-go then lists
		}
		if used[a] == 0 {
			t.Errorf("allowed by %s and never used: %v", granted[a], a)
		}
	}
}

// granted are the accesses that Herald's own roles grant, with the role's name.
func (c *cluster) granted(t *testing.T) map[access]string {
	t.Helper()
	rbac := c.Client().RbacV1()
	granted := map[access]string{}
	add := func(subjects []rbacv1.Subject, role string, rules []rbacv1.PolicyRule) {
		for _, s := range subjects {
			if s.Kind != "ServiceAccount" || s.Namespace != "herald-system" {
				continue
			}
			for _, r := range rules {
				for _, g := range r.APIGroups {
					for _, res := range r.Resources {
						for _, v := range r.Verbs {
							granted[access{s.Name, v, g, res}] = role
						}
					}
				}
			}
		}
	}
	bindings, err := rbac.ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	c.must(t, err)
	for _, b := range bindings.Items {
		if strings.HasPrefix(b.RoleRef.Name, "system:") {
			continue // Kubernetes' own roles, whose extent is not ours to choose
		}
		role, err := rbac.ClusterRoles().Get(t.Context(), b.RoleRef.Name, metav1.GetOptions{})
		c.must(t, err)
		add(b.Subjects, role.Name, role.Rules)
	}
	namespaced, err := rbac.RoleBindings("").List(t.Context(), metav1.ListOptions{})
	c.must(t, err)
	for _, b := range namespaced.Items {
		if b.RoleRef.Kind != "Role" {
			continue
		}
		role, err := rbac.Roles(b.Namespace).Get(t.Context(), b.RoleRef.Name, metav1.GetOptions{})
		c.must(t, err)
		add(b.Subjects, role.Name, role.Rules)
	}
	if len(granted) == 0 {
		t.Fatal("no role of Herald's was found")
	}
	return granted
}

// Applying the next build's manifests is a rolling update; nothing is to be
// done by hand before or after.
func TestNextBuildIsARollingUpdate(t *testing.T) {
	c := onCluster(t)
	ns := c.namespace(t, "upgrade")
	c.workload(t, ns, "web", 2, "")
	c.expose(t, ns, "web")
	a := c.address(t, ns, "web")
	c.answers(t, a, 80)

	const next = "herald-lb.io/herald:v0.1.0-next"
	archive, err := heraldImage(t.Context(), next)
	c.must(t, err)
	c.must(t, c.Load(t.Context(), archive))
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(deployDir(), "*.yaml"))
	c.must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		c.must(t, err)
		b = []byte(strings.ReplaceAll(string(b), "herald-lb.io/herald:v0.1.0", next))
		c.must(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644))
	}
	stop := c.watchAddresses(t, ns)
	for _, from := range []string{dir, deployDir()} {
		_, err = c.Kubectl(t.Context(), "apply", "-f", from)
		c.must(t, err)
		c.must(t, c.WaitRollout(t.Context()))
		c.answers(t, a, 80)
	}
	stop()
}

// Herald's programs run as nobody in particular, with the one capability that
// raw sockets need.
func TestPrivilegesOfTheAnnouncer(t *testing.T) {
	c := onCluster(t)
	for _, node := range c.Nodes() {
		pid := c.pid(t, node, "/announcer")
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		c.must(t, err)
		field := func(name string) string {
			for line := range strings.Lines(string(status)) {
				if v, ok := strings.CutPrefix(line, name+":"); ok {
					return strings.Join(strings.Fields(v), " ")
				}
			}
			return ""
		}
		const netRaw = "0000000000002000"
		if got := field("Uid"); got != "65532 65532 65532 65532" {
			t.Errorf("%s: Uid %s", node, got)
		}
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if got := field(set); got != netRaw {
				t.Errorf("%s: %s is %s, want NET_RAW alone", node, set, got)
			}
		}
		if got := field("NoNewPrivs"); got != "1" {
			t.Errorf("%s: NoNewPrivs is %s", node, got)
		}
		if got := field("Seccomp"); got != "2" {
			t.Errorf("%s: Seccomp is %s, want a filter", node, got)
		}
	}
}

// pid finds a node's process by its program, as this machine numbers it.
func (c *cluster) pid(t *testing.T, node, program string) int {
	t.Helper()
	pids, err := c.Pids(node, filepath.Base(program))
	c.must(t, err)
	if len(pids) != 1 {
		t.Fatalf("%s runs %d of %s", node, len(pids), program)
	}
	return pids[0]
}

// What is wrong with its surroundings, the announcer says in one line.
func TestAnnouncerSaysWhatItLacks(t *testing.T) {
	needsLab(t)
	image, err := heraldImage(t.Context(), "herald-lb.io/herald:refusals")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for any user
		t.Fatal(err)
	}
	program, kubeconfig := filepath.Join(dir, "announcer"), filepath.Join(dir, "kubeconfig")
	for to, content := range map[string]func() ([]byte, error){
		program:    func() ([]byte, error) { return os.ReadFile(filepath.Join(filepath.Dir(image), "announcer")) },
		kubeconfig: func() ([]byte, error) { return []byte(nowhere), nil },
	} {
		b, err := content()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	surroundings := []string{"--node-name=n1", "--namespace=herald-system", "--host-ip=127.0.0.1", "--kubeconfig=" + kubeconfig, "--memberlist-keys=" + t.TempDir()}
	for _, c := range []struct {
		name string
		args []string
		user uint32
		want string
	}{
		{"node name", nil, 0, "node name"},
		{"capability", surroundings, 65532, "NET_RAW"},
		{"key", surroundings, 0, "herald-system/memberlist"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, c.args...)
		cmd.Env = []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("without its %s: %v, %s", c.name, err, out)
		}
	}
}

// nowhere is a kubeconfig whose API server nobody needs to reach.
const nowhere = `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}],
  clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]}`
