package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// emqxWorld is a world whose auth answers EMQX as well, and what EMQX asks it by. beat says once that the role ingest is there.
func emqxWorld(t *testing.T) (w *world, api *emqxAPI, ask func(cert *tls.Certificate, body string) (*http.Response, error), beat func()) {
	t.Helper()
	w = newWorld(t)
	api = newEMQXAPI(t, w)
	w.cfg.Auth.EMQX = &contract.EMQXConfig{Address: free(t), TLS: writeTLS(t, w.dir, "emqx-server", w.ca.server(t), w.ca), API: api.config}
	w.start()
	roots := x509.NewCertPool()
	roots.AddCert(w.ca.cert)
	ingest := w.user(contract.UserIngest)
	beat = func() {
		if err := ingest.Publish(contract.SubjectIngest, nil); err != nil {
			t.Error(err)
		}
	}
	return w, api, func(cert *tls.Certificate, body string) (*http.Response, error) {
		c := &tls.Config{RootCAs: roots}
		if cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		return client.Post("https://"+w.cfg.Auth.EMQX.Address+contract.EMQXPath, "application/json", strings.NewReader(body))
	}, beat
}

// asker gives what EMQX makes of an answer. An answer that it could not read is an error of the test.
func asker(t *testing.T, w *world, ask func(*tls.Certificate, string) (*http.Response, error), beat func()) func(body any) emqxAnswer {
	t.Helper()
	emqx := w.ca.client(t, contract.RoleURI(platform, contract.UserEMQX))
	return func(body any) emqxAnswer {
		t.Helper()
		raw, ok := body.(string)
		if !ok {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(encoded)
		}
		var answer emqxAnswer
		await(t, "an answer", func() error {
			beat()
			response, err := ask(&emqx, raw)
			if err != nil {
				return err
			}
			defer response.Body.Close() //nolint:errcheck // a test
			said, err := io.ReadAll(response.Body)
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %q: EMQX would take it for no answer, and ask the next authenticator", response.Status, response.Header.Get("Content-Type"))
			}
			decoder := json.NewDecoder(bytes.NewReader(said))
			decoder.DisallowUnknownFields()
			return decoder.Decode(&answer)
		})
		return answer
	}
}

// certificate is a device's, as EMQX sends it.
func certificate(t *testing.T, by ca, uri string) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(by.client(t, uri).Certificate[0])
}

func emqxConnect(clientID, username, password, cert string) map[string]string {
	return map[string]string{"clientid": clientID, "username": username, "password": password, "cert": cert, "zone": "default"}
}

// The request and the answer are as EMQX documents them; who is let in, as whom and for which topics is what the auth callout says.
func TestEMQXIsAnsweredLikeTheBroker(t *testing.T) {
	t.Parallel()
	w, _, raw, beat := emqxWorld(t)
	request := emqxConnect
	certificate := func(by ca, fleet, device string) string {
		return certificate(t, by, contract.DeviceURI(platform, fleet, device))
	}
	silent := asker(t, w, raw, func() {})
	known := request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1"))
	if a := silent(known); a.Result != "deny" {
		t.Errorf("a device is let in though nothing holds what EMQX acknowledges: %+v", a)
	}
	beat()
	ask := asker(t, w, raw, beat)
	await(t, "the role ingest is heard", func() error {
		if a := ask(known); a.Result != "allow" {
			return errors.New(a.Result)
		}
		return nil
	})
	for name, body := range map[string]map[string]string{
		"certificate":                        request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"certificate, its username repeated": request("smoke_s1", "smoke.s1", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"bound client id":                    request("IMEI-866123", "", "", certificate(w.cas["smoke"], "smoke", "s3")),
		"password":                           request("door_d1", "door.d1", door1, ""),
	} {
		a := ask(body)
		if a.Result != "allow" {
			t.Errorf("%s: %s", name, a.Result)
			continue
		}
		life, want := time.Until(time.Unix(a.ExpireAt, 0)), connectionLife
		if body["cert"] != "" {
			want = time.Hour // its certificate ends then
		}
		if life > want || life < min(want, time.Duration((1-jitterShare)*float64(connectionLife)))-time.Minute {
			t.Errorf("%s: lasts %s", name, life)
		}
		fleet, device, _ := strings.Cut(strings.Split(a.ClientAttrs["user"], "/")[0], ".")
		rules := []emqxRule{
			{"allow", "publish", []int{0, 1}, topics(fleet, device, "telemetry", "signal", "state", "ack")},
			{"allow", "subscribe", []int{0}, topics(fleet, device, "cmd", "desired")},
			{"deny", "all", nil, []string{"#"}},
		}
		if !slices.EqualFunc(a.ACL, rules, func(x, y emqxRule) bool {
			return x.Permission == y.Permission && x.Action == y.Action && slices.Equal(x.QoS, y.QoS) && slices.Equal(x.Topics, y.Topics)
		}) {
			t.Errorf("%s: rules %+v, want %+v", name, a.ACL, rules)
		}
	}
	zone := request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1"))
	zone["zone"] = "other"
	for name, body := range map[string]any{
		"nothing shown":              request("smoke_s1", "", "", ""),
		"another's client id":        request("smoke_s2", "", "", certificate(w.cas["smoke"], "smoke", "s1")),
		"another fleet's CA":         request("smoke_s1", "", "", certificate(w.cas["other"], "smoke", "s1")),
		"a device that is not there": request("smoke_s9", "", "", certificate(w.cas["smoke"], "smoke", "s9")),
		"wrong password":             request("door_d1", "door.d1", "wrong", ""),
		"two identities":             request("smoke_s1", "door.d1", door1, certificate(w.cas["smoke"], "smoke", "s1")),
		"a role of the platform":     request("grid", "", "", base64.StdEncoding.EncodeToString(w.ca.client(t, contract.RoleURI(platform, contract.UserGrid)).Certificate[0])),
		"no certificate at all":      request("smoke_s1", "", "", "bm90IGEgY2VydGlmaWNhdGU="),
		"no base64":                  request("smoke_s1", "", "", "%%%"),
		"a zone that is not there":   zone,
		"no JSON":                    "clientid=smoke_s1",
		"too long":                   `{"clientid":"` + strings.Repeat("x", emqxBody) + `"}`,
	} {
		if a := ask(body); a.Result != "deny" || len(a.ACL) > 0 || a.ExpireAt != 0 {
			t.Errorf("%s: %+v, want a refusal", name, a)
		}
	}

	// Who is not EMQX is not answered, whatever the platform's CA says.
	for name, cert := range map[string]*tls.Certificate{"nobody": nil, "the role grid": new(w.ca.client(t, contract.RoleURI(platform, contract.UserGrid))),
		"a device": new(w.cas["smoke"].client(t, contract.DeviceURI(platform, "smoke", "s1")))} {
		response, err := raw(cert, "{}")
		if err == nil {
			_ = response.Body.Close()
			t.Errorf("%s was answered: %s", name, response.Status)
		}
	}

	// A row is taken away: the next CONNECT is refused.
	creds := w.creds["smoke"]
	delete(creds.Devices, "s1")
	w.publish()
	if a := ask(request("smoke_s1", "", "", certificate(w.cas["smoke"], "smoke", "s1"))); a.Result != "deny" {
		t.Errorf("a device whose row is gone: %s", a.Result)
	}
}

// On the listener for roles the role ingest comes in and nobody else, with a live bundle or without one.
func TestEMQXListenerForRolesIsIngestsAlone(t *testing.T) {
	t.Parallel()
	w, _, raw, _ := emqxWorld(t)
	ask := asker(t, w, raw, func() {})
	role := func(clientID, cert string) map[string]string {
		return map[string]string{"clientid": clientID, "cert": cert, "zone": "roles"}
	}
	ingest := certificate(t, w.ca, contract.RoleURI(platform, contract.UserIngest))
	a := ask(role("ingest.dizuo-ingest-0", ingest))
	want := []emqxRule{{"allow", "subscribe", []int{1}, []string{"dizuo/v1/d/+/+/telemetry", "dizuo/v1/d/+/+/signal", "dizuo/v1/d/+/+/state", "dizuo/v1/d/+/+/ack", "dizuo/v1/p/+/up"}},
		{"allow", "publish", []int{0}, []string{"dizuo/v1/d/+/+/cmd", "dizuo/v1/d/+/+/desired", "dizuo/v1/p/+/down"}}, {"deny", "all", nil, []string{"#"}}}
	if a.Result != "allow" || !reflect.DeepEqual(a.ACL, want) {
		t.Errorf("%+v, want %+v", a, want)
	}
	for name, body := range map[string]map[string]string{
		"a device's client id":     role("smoke_s1", ingest),
		"no certificate":           role("ingest.dizuo-ingest-0", ""),
		"the role grid":            role("ingest.dizuo-ingest-0", certificate(t, w.ca, contract.RoleURI(platform, contract.UserGrid))),
		"another platform's":       role("ingest.dizuo-ingest-0", certificate(t, w.ca, contract.RoleURI("other", contract.UserIngest))),
		"another CA":               role("ingest.dizuo-ingest-0", certificate(t, w.cas["smoke"], contract.RoleURI(platform, contract.UserIngest))),
		"a device":                 role("ingest.dizuo-ingest-0", certificate(t, w.cas["smoke"], contract.DeviceURI(platform, "smoke", "s1"))),
		"ingest, where devices go": emqxConnect("ingest.dizuo-ingest-0", "", "", ingest),
	} {
		if a := ask(body); a.Result != "deny" {
			t.Errorf("%s: %+v, want a refusal", name, a)
		}
	}
}

func topics(fleet, device string, channels ...string) []string {
	var out []string
	for _, c := range channels {
		out = append(out, "eq dizuo/v1/d/"+fleet+"/"+device+"/"+c)
	}
	return out
}
