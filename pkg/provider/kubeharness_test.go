package provider

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli"
	"k8s.io/utils/ptr"
)

// asController makes the test binary run as the controller, so that tests have
// it as a process that they can signal and kill.
const asController = "HERALD_TEST_AS_CONTROLLER"

func TestMain(m *testing.M) {
	if os.Getenv(asController) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		command, err := NewCommand(ctx)
		if err != nil {
			panic(err)
		}
		os.Exit(cli.Run(command))
	}
	// One of the handlers slows down errors by the wall clock, which stands
	// still at another time in synctest bubbles.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	os.Exit(m.Run())
}

// kube is a real API server with its etcd, on the loopback interface.
type kube struct {
	t      testing.TB
	dir    string
	server string
	admin  kubernetes.Interface
	ports  map[string]string // of the controllers, by name
}

const adminToken = "admin-of-this-test"

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["system:serviceaccount:herald-system:cloud-controller-manager"]
  - level: None
`

// startKube starts the API server out of the directory that HERALD_TEST_BIN
// names, with the namespace and the rights of the shipped manifests.
func startKube(t testing.TB) *kube {
	t.Helper()
	bin := os.Getenv("HERALD_TEST_BIN")
	if bin == "" {
		t.Skip("HERALD_TEST_BIN names no directory with etcd and kube-apiserver")
	}
	k := &kube{t: t, dir: t.TempDir(), ports: make(map[string]string)}
	k.file("audit.yaml", auditPolicy)
	k.file("tokens.csv", adminToken+",admin,1,system:masters\n")
	k.file("sa.pem", serviceAccountKey(t))
	etcd, peer, api := freePort(t), freePort(t), freePort(t)
	k.start(filepath.Join(bin, "etcd"), nil, "etcd.log",
		"--data-dir="+k.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://"+etcd, "--advertise-client-urls=http://"+etcd,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer)
	_, port, _ := net.SplitHostPort(api)
	k.start(filepath.Join(bin, "kube-apiserver"), nil, "apiserver.log",
		"--etcd-servers=http://"+etcd, "--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+k.path("certs"),
		"--authorization-mode=RBAC", "--token-auth-file="+k.path("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+k.path("sa.pem"), "--service-account-signing-key-file="+k.path("sa.pem"),
		"--service-cluster-ip-range=10.96.0.0/12,fd00:96::/112", "--service-node-port-range=20000-40000",
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
		"--audit-policy-file="+k.path("audit.yaml"), "--audit-log-path="+k.path("audit.log"))
	k.server = "https://" + api
	k.admin = k.client(adminToken)
	k.eventually(2*time.Minute, "the API server answers", func() error {
		return k.admin.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error()
	})
	k.apply("../../deploy/00-namespace.yaml")
	k.apply("../../deploy/10-cloud-controller-manager-rbac.yaml")
	return k
}

// client returns a client that identifies itself by the token.
func (k *kube) client(token string) kubernetes.Interface {
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: k.server, BearerToken: token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// start starts a process that ends with the test at the latest.
func (k *kube) start(program string, env []string, log string, args ...string) *exec.Cmd {
	k.t.Helper()
	out, err := os.Create(k.path(log))
	if err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
		if k.t.Failed() && program == os.Args[0] {
			k.tail(log)
		}
	})
	return cmd
}

// controller starts a controller as a process of its own, with the rights of
// the shipped manifests.
func (k *kube) controller(name string, args ...string) *exec.Cmd {
	k.t.Helper()
	token, err := k.admin.CoreV1().ServiceAccounts("herald-system").CreateToken(k.t.Context(), "cloud-controller-manager",
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	kubeconfig := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"x",
		"clusters":[{"name":"x","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
		"users":[{"name":"x","user":{"token":%q}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}]}`, k.server, token.Status.Token)
	k.file(name+".kubeconfig", kubeconfig)
	_, port, _ := net.SplitHostPort(freePort(k.t))
	k.ports[name] = port
	return k.start(os.Args[0], []string{asController + "=1"}, name+".log", append([]string{
		"--kubeconfig=" + k.path(name+".kubeconfig"), "--namespace=herald-system", "--leader-elect-resource-namespace=herald-system",
		"--secure-port=" + port, "--bind-address=127.0.0.1"}, args...)...)
}

// ask asks a controller's own port without credentials.
func (k *kube) ask(name, path string) (code int, body string) {
	k.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://127.0.0.1:" + k.ports[name] + path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// apply creates the objects of a manifest.
func (k *kube) apply(file string) {
	k.t.Helper()
	for _, obj := range manifest(k.t, file) {
		var err error
		switch o := obj.(type) {
		case *v1.Namespace:
			_, err = k.admin.CoreV1().Namespaces().Create(k.t.Context(), o, metav1.CreateOptions{})
		case *v1.ServiceAccount:
			_, err = k.admin.CoreV1().ServiceAccounts(o.Namespace).Create(k.t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.ClusterRole:
			_, err = k.admin.RbacV1().ClusterRoles().Create(k.t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.ClusterRoleBinding:
			_, err = k.admin.RbacV1().ClusterRoleBindings().Create(k.t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.Role:
			_, err = k.admin.RbacV1().Roles(o.Namespace).Create(k.t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			_, err = k.admin.RbacV1().RoleBindings(o.Namespace).Create(k.t.Context(), o, metav1.CreateOptions{})
		case *flowcontrolv1.FlowSchema:
			_, err = k.admin.FlowcontrolV1().FlowSchemas().Create(k.t.Context(), o, metav1.CreateOptions{})
		default:
			err = fmt.Errorf("%T is not known here", obj)
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			k.t.Fatalf("%s: %v", file, err)
		}
	}
}

// manifest decodes the objects of a manifest, strictly.
func manifest(t testing.TB, file string) []runtime.Object {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		part, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		obj, _, err := strict.Decode(part, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, obj)
	}
}

// audited is a request of the controller as the API server saw it.
type audited struct {
	Verb           string
	ResponseStatus struct{ Code int }
	ObjectRef      struct{ Resource, Subresource, Namespace, Name string }
}

// requests returns the controller's requests so far.
func (k *kube) requests() []audited {
	k.t.Helper()
	text, err := os.ReadFile(k.path("audit.log"))
	if err != nil {
		k.t.Fatal(err)
	}
	var out []audited
	for line := range strings.Lines(string(text)) {
		var a audited
		if json.Unmarshal([]byte(line), &a) == nil {
			out = append(out, a)
		}
	}
	return out
}

// eventually waits until f has no error any more.
func (k *kube) eventually(limit time.Duration, what string, f func() error) time.Duration {
	k.t.Helper()
	begin := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			k.t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (k *kube) path(name string) string { return filepath.Join(k.dir, name) }

func (k *kube) file(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(k.path(name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// tail shows the end of a log.
func (k *kube) tail(log string) {
	text, _ := os.ReadFile(k.path(log))
	k.t.Logf("%s ends with:\n%s", log, text[max(0, len(text)-6000):])
}

// freePort returns a loopback address with a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serviceAccountKey(t testing.TB) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// in returns k for a test within another.
func (k *kube) in(t testing.TB) *kube {
	inner := *k
	inner.t = t
	return &inner
}

// create creates a LoadBalancer Service.
func (k *kube) create(name string, edit ...func(*v1.Service)) {
	k.t.Helper()
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: ptr.To(false),
			Ports: []v1.ServicePort{{Port: 80}}, Selector: map[string]string{"app": name}},
	}
	for _, e := range edit {
		e(svc)
	}
	if _, err := k.admin.CoreV1().Services("default").Create(k.t.Context(), svc, metav1.CreateOptions{}); err != nil {
		k.t.Fatal(err)
	}
}

// get returns a Service; nil if there is none.
func (k *kube) get(name string) *v1.Service {
	k.t.Helper()
	svc, err := k.admin.CoreV1().Services("default").Get(k.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return svc
}

// addressed waits until a Service shows the addresses and nothing else, and
// returns how long that took.
func (k *kube) addressed(name string, want ...string) time.Duration {
	k.t.Helper()
	return k.eventually(30*time.Second, fmt.Sprintf("%s has %v", name, want), func() error {
		var have []string
		for _, i := range k.get(name).Status.LoadBalancer.Ingress {
			have = append(have, i.IP)
		}
		if !slices.Equal(have, want) {
			return fmt.Errorf("it has %v", have)
		}
		return nil
	})
}

// delete asks for the deletion of a Service.
func (k *kube) delete(name string) {
	k.t.Helper()
	if err := k.admin.CoreV1().Services("default").Delete(k.t.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		k.t.Fatal(err)
	}
}

// remove deletes Services and waits until they are gone.
func (k *kube) remove(names ...string) {
	k.t.Helper()
	for _, name := range names {
		k.delete(name)
	}
	for _, name := range names {
		k.eventually(30*time.Second, name+" is gone", func() error {
			if k.get(name) != nil {
				return errors.New("it is there")
			}
			return nil
		})
	}
}

// configure writes the user's ConfigMap.
func (k *kube) configure(why, document string, annotations map[string]string) {
	k.t.Helper()
	maps := k.admin.CoreV1().ConfigMaps("herald-system")
	cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: configName, Annotations: annotations}, Data: map[string]string{documentKey: document}}
	_, err := maps.Create(k.t.Context(), cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(k.t.Context(), cm, metav1.UpdateOptions{})
	}
	if err != nil {
		k.t.Fatalf("configuration %s: %v", why, err)
	}
}

// live returns what is published.
func (k *kube) live() *v1.ConfigMap {
	k.t.Helper()
	cm, err := k.admin.CoreV1().ConfigMaps("herald-system").Get(k.t.Context(), liveName, metav1.GetOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	return cm
}

// logged tells whether a process has logged the text.
func (k *kube) logged(name, text string) error {
	log, err := os.ReadFile(k.path(name + ".log"))
	if err == nil && !strings.Contains(string(log), text) {
		err = fmt.Errorf("%s has not logged %q", name, text)
	}
	return err
}

// pool returns a document with one pool.
func pool(name string, ranges ...string) string {
	return fmt.Sprintf("address-pools:\n- name: %s\n  protocol: layer2\n  addresses:\n  - %s\n", name, strings.Join(ranges, "\n  - "))
}
