// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
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

// stsService hands out credentials for roles. Any role can be assumed until PutRole says which.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
type stsService struct {
	service
	server *Server

	mu       sync.Mutex
	roles    map[string]Role        // by ARN; empty: any role can be assumed
	sessions map[string]assumedRole // by the access key handed out
}

// Role is an IAM role.
type Role struct {
	ARN string `json:"arn"`
	// Refuses: its trust policy does not name who asks, or who asks may not assume it.
	Refuses bool `json:"refuses,omitempty"`
	// Lifetime of its credentials, in nanoseconds in JSON. Default: what the call asks for.
	Lifetime time.Duration `json:"lifetime,omitempty"`
}

// PutRole creates or replaces a role. From the first one on no others can be assumed.
func (s *Server) PutRole(role Role) error {
	if !roleARN.MatchString(role.ARN) {
		return fmt.Errorf("%q is not a role's ARN", role.ARN)
	}
	s.sts.mu.Lock()
	defer s.sts.mu.Unlock()
	s.sts.roles[role.ARN] = role
	return nil
}

// assumedRole is a session of a role.
type assumedRole struct {
	arn, session, token string
	expires             time.Time
}

func newSTS(server *Server) *stsService {
	s := &stsService{server: server, roles: map[string]Role{}, sessions: map[string]assumedRole{}}
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
	return s.sessions[accessKey].arn
}

// authenticate finds out whose account a call is made in. Keys of users are all of Account;
// temporary ones have to be those that AssumeRole gave out, with their token, and not expired.
func (s *stsService) authenticate(req *request) error {
	req.account = Account
	if !strings.HasPrefix(req.accessKey, temporaryKey) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	role, known := s.sessions[req.accessKey]
	if !known || role.token != req.sessionToken {
		return invalidCredentials(req.service.name)
	}
	if !role.expires.After(s.server.now()) {
		return expiredCredentials(req.service.name)
	}
	req.account = role.account()
	return nil
}

// account returns the account that the role is of.
func (r assumedRole) account() string { return roleARN.FindStringSubmatch(r.arn)[2] }

// temporaryKey begins the key ID of temporary credentials.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
const temporaryKey = "ASIA"

var (
	roleARN     = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::(\d{12}):role/(?:.*/)?([\w+=,.@-]+)$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// identity returns the ARN that the role's session has.
func (r assumedRole) identity() string {
	parts := roleARN.FindStringSubmatch(r.arn)
	return "arn:" + parts[1] + ":sts::" + parts[2] + ":assumed-role/" + parts[3] + "/" + r.session
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
	s.mu.Lock()
	defer s.mu.Unlock()
	known, found := s.roles[role.arn]
	if len(s.roles) > 0 && (!found || known.Refuses) {
		return nil, &apiError{Code: "AccessDenied", Message: fmt.Sprintf("User: arn:aws:iam::%s:user/awssim is not authorized to perform: sts:AssumeRole on resource: %s", Account, role.arn)}
	}
	key := temporaryKey + strings.ToUpper(strings.ReplaceAll(newUUID(), "-", ""))[:16]
	role.token, role.expires = newUUID(), s.server.now().Add(cmp.Or(known.Lifetime, lifetime)).UTC()
	s.sessions[key] = role
	return assumeRoleResult{
		AccessKeyID:     key,
		SecretAccessKey: newUUID(),
		SessionToken:    role.token,
		Expiration:      role.expires.Format(time.RFC3339),
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
	role, ok := s.sessions[req.accessKey]
	if !ok {
		return callerIdentity{Account: Account, ARN: "arn:aws:iam::" + Account + ":user/awssim", UserID: "AIDAEXAMPLE"}, nil
	}
	return callerIdentity{Account: role.account(), ARN: role.identity(), UserID: "AROAEXAMPLE:" + role.session}, nil
}
