package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki is the certificate authority of one control plane, and where its files are.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

// newPKI writes into dir what the components need: the authority (ca.crt), the API server's
// certificate and key (apiserver.crt, apiserver.key) and the key that signs the tokens of service
// accounts (sa.key, sa.pub).
func newPKI(dir string) (*pki, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &pki{dir: dir, key: key, pool: x509.NewCertPool()}
	template := certificate("controlplane-ca", "")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	p.pool.AddCert(p.cert)
	if err := p.write("ca.crt", "CERTIFICATE", der); err != nil {
		return nil, err
	}

	server := certificate("kube-apiserver", "")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	server.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	crt, keyDER, err := p.sign(server)
	if err != nil {
		return nil, err
	}
	if err := p.write("apiserver.crt", "CERTIFICATE", crt); err != nil {
		return nil, err
	}
	if err := p.write("apiserver.key", "PRIVATE KEY", keyDER); err != nil {
		return nil, err
	}
	if err := p.writeServiceAccountKey(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *pki) writeServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := p.write("sa.key", "PRIVATE KEY", private); err != nil {
		return err
	}
	return p.write("sa.pub", "PUBLIC KEY", public)
}

// certificate returns the template of a certificate for a user of a group. A control plane lives for
// hours; ten years spare a thought about clocks and suspended laptops.
func certificate(user, group string) *x509.Certificate {
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: user},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	if group != "" {
		cert.Subject.Organization = []string{group}
	}
	return cert
}

// sign returns a new certificate and its private key, both DER.
func (p *pki) sign(template *x509.Certificate) (crt, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	crt, err = x509.CreateCertificate(rand.Reader, template, p.cert, private.Public(), p.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	return crt, key, err
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) write(name, blockType string, der []byte) error {
	return os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600)
}

// client makes credentials that the API server at the URL accepts as user. All of them are
// administrators: who may do what is a matter of the service accounts under test, not of these.
func (p *pki) client(server, user string) (kubeconfig []byte, config *tls.Config, err error) {
	template := certificate(user, "system:masters")
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	crt, key, err := p.sign(template)
	if err != nil {
		return nil, nil, err
	}
	crtPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	pair, err := tls.X509KeyPair(crtPEM, keyPEM)
	if err != nil {
		return nil, nil, err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
	kubeconfig = fmt.Appendf(nil, kubeconfigTemplate, server,
		base64.StdEncoding.EncodeToString(caPEM), user,
		base64.StdEncoding.EncodeToString(crtPEM), base64.StdEncoding.EncodeToString(keyPEM))
	return kubeconfig, &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{pair}}, nil
}

const kubeconfigTemplate = `apiVersion: v1
kind: Config
clusters:
- name: controlplane
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: controlplane
  context: {cluster: controlplane, user: %[3]s}
current-context: controlplane
`
