// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	stsVersion   = "2011-06-15"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// stsService hands out credentials for roles. Any role can be assumed.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
type stsService struct {
	service
	server *Server

	mu    sync.Mutex
	roles map[string]assumedRole // by the access key handed out
}

type assumedRole struct{ arn, session string }

func newSTS(server *Server) *stsService {
	s := &stsService{server: server, roles: map[string]assumedRole{}}
	s.service = service{name: "sts", encode: queryEncoder{stsNamespace}, actions: map[string]handler{
		"AssumeRole":        s.assumeRole,
		"GetCallerIdentity": s.getCallerIdentity,
	}}
	return s
}

// roleOf returns the ARN of the role that the access key was handed out for, or empty.
func (s *stsService) roleOf(accessKey string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles[accessKey].arn
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/(?:.*/)?([\w+=,.@-]+)$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// identity returns the ARN that the role's session has.
func (r assumedRole) identity() string {
	parts := roleARN.FindStringSubmatch(r.arn)
	return "arn:aws:sts::" + parts[1] + ":assumed-role/" + parts[2] + "/" + r.session
}

type assumeRoleResult struct {
	AccessKeyID     string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey string `xml:"Credentials>SecretAccessKey"`
	SessionToken    string `xml:"Credentials>SessionToken"`
	Expiration      string `xml:"Credentials>Expiration"`
	RoleID          string `xml:"AssumedRoleUser>AssumedRoleId"`
	RoleARN         string `xml:"AssumedRoleUser>Arn"`
}

func (s *stsService) assumeRole(req *request) (any, error) {
	role := assumedRole{arn: req.form.Get("RoleArn"), session: req.form.Get("RoleSessionName")}
	if !roleARN.MatchString(role.arn) || !sessionName.MatchString(role.session) {
		return nil, &apiError{Code: "ValidationError", Message: fmt.Sprintf("%q is not a role's ARN or %q not a session name", role.arn, role.session)}
	}
	lifetime := time.Hour
	if text := req.form.Get("DurationSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 900 || seconds > 43_200 {
			return nil, &apiError{Code: "ValidationError", Message: "DurationSeconds: use 900 to 43200."}
		}
		lifetime = time.Duration(seconds) * time.Second
	}
	key := "ASIA" + strings.ToUpper(strings.ReplaceAll(newUUID(), "-", ""))[:16]
	s.mu.Lock()
	s.roles[key] = role
	s.mu.Unlock()
	return assumeRoleResult{
		AccessKeyID:     key,
		SecretAccessKey: newUUID(),
		SessionToken:    newUUID(),
		Expiration:      s.server.now().Add(lifetime).UTC().Format(time.RFC3339),
		RoleID:          "AROAEXAMPLE:" + role.session,
		RoleARN:         role.identity(),
	}, nil
}

type callerIdentity struct {
	Account string
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
}

func (s *stsService) getCallerIdentity(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	role, ok := s.roles[req.accessKey]
	if !ok {
		return callerIdentity{Account: Account, ARN: "arn:aws:iam::" + Account + ":user/awssim", UserID: "AIDAEXAMPLE"}, nil
	}
	identity := role.identity()
	return callerIdentity{Account: strings.Split(identity, ":")[4], ARN: identity, UserID: "AROAEXAMPLE:" + role.session}, nil
}
