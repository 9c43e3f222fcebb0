package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/herald-lb/herald/test/internal/rig"
)

// The users of the control plane. A user's token is the name; who can reach
// the API server can be any of them, and only the lab's own hosts can.
const (
	userAdmin     = "admin"
	userScheduler = "system:kube-scheduler"
	userProxy     = "system:kube-proxy"
	userNode      = "system:node:" // and the node's name
)

// writePKI writes what identifies the API server and its users.
func (l *Lab) writePKI(addresses []netip.Addr) error {
	ca, caKey, err := newCA()
	if err != nil {
		return err
	}
	cert, key, err := newServerCert(ca, caKey, addresses)
	if err != nil {
		return err
	}
	accountKey, err := newKey()
	if err != nil {
		return err
	}
	accountPEM, err := encodeKey(accountKey)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt": encodeCert(ca.Raw), "apiserver.crt": cert, "apiserver.key": key, "accounts.key": accountPEM, "tokens.csv": l.tokens(),
	} {
		if err := os.WriteFile(l.pki(name), content, 0o600); err != nil {
			return err
		}
	}
	for file, user := range map[string]string{"admin.conf": userAdmin, "scheduler.conf": userScheduler} {
		config, err := l.kubeconfig(user)
		if err != nil {
			return err
		}
		if err := os.WriteFile(l.pki(file), []byte(config), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) pki(name string) string { return rig.Dir(l.state.Name, "pki", name) }

// tokens is the API server's list of users: token, name, id and groups.
func (l *Lab) tokens() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s,%s,1,\"system:masters\"\n", userAdmin, userAdmin)
	for _, user := range []string{userScheduler, userProxy} {
		fmt.Fprintf(&b, "%s,%s,%s\n", user, user, user)
	}
	for _, h := range l.state.Hosts {
		if h.Node {
			user := userNode + h.Name
			fmt.Fprintf(&b, "%s,%s,%s,\"system:nodes\"\n", user, user, user)
		}
	}
	return b.Bytes()
}

// kubeconfig is a user's way to the API server.
func (l *Lab) kubeconfig(user string) (string, error) {
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "%s", certificate-authority-data: %q}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: lab, context: {cluster: lab, user: user}}]
current-context: lab
`, l.server(), base64.StdEncoding.EncodeToString(ca), user), nil
}

// server is the API server's URL.
func (l *Lab) server() string {
	cp := l.hostAt(ControlPlane, 2)
	return "https://" + netip.AddrPortFrom(hostAddresses(cp)[0], 6443).String()
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newCA() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := certTemplate("lab")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func newServerCert(ca *x509.Certificate, caKey *ecdsa.PrivateKey, addresses []netip.Addr) (cert, key []byte, err error) {
	serverKey, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := certTemplate("kube-apiserver")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(a.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, serverKey.Public(), caKey)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(serverKey)
	return encodeCert(der), key, err
}

func certTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}
