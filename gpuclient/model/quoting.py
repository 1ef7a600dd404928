# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Quote values in messages: without secrets, and of limited length.

A value may contain a secret by mistake: oslo.config joins an indented line to
the value above it, so that a password may become part of an alias. So values
of ``[pci]`` are masked except for words that are known, and every message is
searched for what looks like a secret before it is printed. Run time is linear
in the length of the text.
"""

import collections.abc
import re

#: Maximum length of a quoted value.
LONGEST = 200
#: Maximum length of a word that is never masked for its length.
_LONGEST_WORD = 24
#: Maximum length of each word in a longer name.
_LONGEST_PIECE = 16
#: Minimum average length of the words of a longer name.
_LEAST_LETTERS = 3.7
#: Long, but not secret: paths and UUIDs.
_IDENTIFIER = re.compile(
    r'/.*|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}', re.DOTALL
)
#: A word of more characters than :data:`_LONGEST_WORD`.
_LONG = re.compile(r'[^\s\'",;:()\[\]{}=]{25,}')
#: Names of this package with many digits: GPU models, variables.
_OURS = re.compile('(?:nvidia|amd|intel|edpm)(?:_[a-z0-9]{1,12}){1,8}')
#: Compound words in names of files, which are split.
_KINDS = re.compile(
    'openstack(?=controlplane|dataplane)|'
    'dataplane(?=nodeset|deployment|service)'
)
_WORDS = re.compile('[A-Z]+[a-z]*|[a-z]+|[0-9]+')
#: Separators in names of files and hosts.
_MARKS = re.compile('[-._/#~+@%]+')
#: A part between separators: ``conf``, ``a100``, ``80g``, ``10``.
_PART = re.compile(
    '(?:[a-z]{1,16}|[A-Z]{1,16}|[A-Z][a-z]{1,15})[0-9]{0,4}'
    '|[0-9]{1,4}(?:[a-z]{1,16}|[A-Z]{1,16})?'
)
#: Minimum share of letters among its letters and digits.
_LEAST_SHARE = 1 / 3
#: Suffixes of configuration files and of copies of them.
_FILE = re.compile(
    r'[.](?:conf|cfg|ini|ya?ml|json|toml|j2|jinja2?|tmpl|template|pp|rb|sh|'
    r'txt|md|rst|env|rules|service|mount|log|xml|tar|tgz|gz)'
    r'(?:[.](?:d|in|j2|rpm(?:new|save|orig)|dpkg-\w{1,8}|ucf-\w{1,8}|'
    r'bak|backup|old|orig|save|saved|disabled|sample|example|sw[a-z]|gz|'
    r'[0-9]{1,14}))?[~#]?\Z'
)
#: Maximum length of such a suffix.
_LONGEST_END = 32
#: Maximum length of a message.
_LONGEST_MESSAGE = 4000
#: Replaces what is not shown.
MASK = '***'

#: Names whose values are secrets.
_NAMES = (
    r'passw|passphrase|pass_?phrase|\bpass\b|_pass\b|dbpass|\bpwd\b|_pwd\b|'
    r'\bpw\b|_pw\b|rootpw|secret|token|private|credential|authorized|'
    r'api_?key|access_?key|activation_?key|(?:tls|ssl|ssh|host|encryption|'
    r'signing|account|shared|luks|master)_?key\b|\bkey_?material|psk|'
    r'registry_login|_logins?\b|cookie|bearer'
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
#: ``password = x``, ``"password": "x"``, ``admin_pw=x``.
_ASSIGNED = re.compile(
    rf'(?:{_NAMES})[\w.-]{{0,40}}(?:["\']\s{{0,4}}:|["\']?\s{{0,4}}=)'
    rf'\s{{0,4}}["\']?(?P<value>[^\s"\']+)',
    re.IGNORECASE,
)
#: ``--password x``, ``-p x`` of sshpass, ``curl -u user:x``.
_OPTION = re.compile(
    r'(?:(?<!\S)--?(?:[\w-]{0,40}(?:passw|passphrase|secret|token|api-?key|'
    r'activation-?key)[\w-]{0,40}|pass|pw|u|user)[ =]\s{0,4}|'
    r'\bsshpass\s{1,4}-p\s{0,4}|\b(?:Bearer|Basic)\s{1,4})'
    r'["\']?(?P<value>[^\s"\']+)',
    re.IGNORECASE,
)
#: A user name without a password is no secret.
_USER = re.compile(r'(?<!\S)--?u(ser)?[ =]', re.IGNORECASE)
#: The placeholder for user and password in our messages.
_EXAMPLE_USER = 'USER:PASSWORD'
#: Values that are secrets by their form: crypt(3), JSON web tokens, keys.
_ITSELF = re.compile(
    r'\$(?:1|2[aby]|5|6|7|y|gy|argon2\w{1,2})\$[^\s"\']+'
    r'|\beyJ[\w-]{10,512}\.[\w.-]{10,512}'
    r'|-----BEGIN[^\n]*|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}'
    r'|\bglpat-[\w-]{16,}'
)
#: A value that is no secret: a Boolean, null, a mask.
_HARMLESS = re.compile(
    r'(?:true|false|yes|no|on|off|none|null|\*{3}|\.{3})[,;:.)\]}]{0,4}',
    re.IGNORECASE,
)

#: Keys of ``[pci]alias`` and ``[pci]device_spec``.
_KEYS = (
    'address',
    'bus',
    'capability_type',
    'dependent_devices',
    'dev_type',
    'device_type',
    'devname',
    'domain',
    'function',
    'live_migratable',
    'managed',
    'name',
    'numa_policy',
    'one_time_use',
    'parent_addr',
    'physical_network',
    'product_id',
    'remote_managed',
    'resource_class',
    'slot',
    'traits',
    'trusted',
    'vendor_id',
)
#: Maximum length of a word that is too short to be a secret.
_HARMLESS_WORD = 3
#: Keys whose values are names.
_NAMED = 'devname|name|physical_network|resource_class|traits'
_KEYED = (
    rf'(?P<quote>["\'])(?:{_NAMED})(?P=quote)\s{{0,4}}:\s{{0,4}}'
    r'(?P<quotes>["\'])[^"\'\\\s:@]{0,48}(?P=quotes)'
)
_WORD = r'[^\s{}\[\],:"\'=]+'
_PIECES = re.compile(f'(?:{_KEYED})|(?P<word>{_WORD})')
_KNOWN_WORD = re.compile(
    rf'(?:{"|".join(_KEYS)}|type-(?:PF|VF|PCI|VDPA)|true|false|yes|no|on|off|'
    r'required|preferred|legacy|socket|pci|alias|device_spec|None|True|False|'
    r'(?:CUSTOM|HW|COMPUTE)_[A-Z0-9_]{1,100}|P?V?GPU|'
    r'(?:0x)?[0-9A-Fa-f]{1,4}(?:\.[0-7*]?)?|(?!.*\d{5})[.*^$|()?+\\0-9-]{1,16})',
)
#: Parts of placeholders, ``<VENDOR_ID>``, ``YOUR_GPU_NAME``, and of comments.
_HARDWARE = frozenset(
    'address addr alias amd bdf bus card class count device devices domain '
    'func function geforce gpu gpus gtx hex id ids instinct intel interface '
    'interfaces model name network nic num number numa nvidia of pci '
    'physical product quadro radeon resource rtx slot tesla the trait traits '
    'type uuid value vendor your'.split()
)
#: What separates them.
_MARKS_OF_PLACEHOLDERS = re.compile(r'[<>$%#_./-]+')
#: ``XXXX``, and designations of GPUs: ``H100``, ``L40S``, ``MI300X``.
_DESIGNATION = re.compile(
    r'[Xx]{4,8}|[ABHLPTV][0-9]{1,3}[SX]?|MI[0-9]{2,3}[AX]?'
)
#: A word that is masked in an invalid set of CPUs: with three letters, or with
#: more digits than the number of a CPU has.
_NO_CPUS = re.compile(r'(?=(?:[^\s,]*?[^\W\d_]){3}|[^\s,]*?\d{6})[^\s,]+')
_PAGES_WORD = re.compile(r'node|size|count|-?\d{1,12}[A-Za-z]{0,3}|[^\d]{1,3}')


def is_secret_name(name: str) -> bool:
    """Return whether a value with this name is a secret."""
    return _NAME.search(name) is not None


def holds_secret(text: str) -> bool:
    """Return whether a text contains what looks like a secret."""
    return masked(text) != text


def masked(text: str) -> str:
    """Return a text with what looks like a secret masked."""
    if '=' in text or ':' in text:
        text = _ASSIGNED.sub(_without_value, text)
    text = _OPTION.sub(_without_option, text)
    text = _ITSELF.sub(MASK, text)
    if '@' not in text:
        return text
    return ''.join(map(_without_user, re.split(r'(\s+)', text)))


def _without_value(match: re.Match[str]) -> str:
    if _HARMLESS.fullmatch(match['value']):
        return match[0]
    return match[0][: match.start('value') - match.start()] + MASK


def _without_option(match: re.Match[str]) -> str:
    if _USER.match(match[0]) and ':' not in match['value']:
        return match[0]
    return _without_value(match)


def _without_user(word: str) -> str:
    """Mask user and password in a word: a URL, or ``a:b@host``."""
    end = word.rfind('@')
    if end < 0:
        return word
    start = word.find('://')
    start = 0 if start < 0 else start + len('://')
    user = word[start:end]
    if (':' not in user and not start) or user == _EXAMPLE_USER:
        return word
    return f'{word[:start]}{MASK}{word[end:]}'


def short(text: str) -> str:
    """Return the first line of a value, shortened if it is too long."""
    first, _newline, more = text.partition('\n')
    return cut(first) + (' ...' if more else '')


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text, shortened in the middle if it is too long."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f'{text[:half]} ... {text[len(text) - half :]}'


def is_word(text: str) -> bool:
    """Return whether a text is a short word that looks like no secret."""
    if len(text) > _LONGEST_WORD or not text.isprintable():
        return False
    kinds = (str.islower, str.isupper, str.isdigit)
    is_mixed = all(any(map(kind, text)) for kind in kinds)
    return not is_mixed and not holds_secret(text)


def word(text: object) -> str:
    """Quote a word that should be a name or a number."""
    first = short(str(text))
    return first if is_name(first) else MASK


def choice(text: object) -> str:
    """Quote a word that is not one of several short choices."""
    first = short(str(text))
    return first if len(first) <= _LONGEST_WORD else MASK


def is_name(text: str) -> bool:
    """Return whether a text is short, or consists of words.

    Punctuation, digits or capitals separate words: ``gpu_a100_80g``,
    ``AggregateInstanceExtraSpecsFilter``.
    """
    if len(text) <= _LONGEST_WORD or _OURS.fullmatch(text):
        return True
    parts = _WORDS.findall(_KINDS.sub(r'\g<0>-', text))
    letters = sum(map(len, parts))
    return (
        letters > 0
        and max(map(len, parts)) <= _LONGEST_PIECE
        and letters >= _LEAST_LETTERS * len(parts)
    )


def is_file_name(text: str) -> bool:
    """Return whether a text looks like the name of a file or a host.

    It has the suffix of a configuration file, or separators between short
    parts:
    ``nova-compute.conf.d/20-spec.ini``, ``r12-gpu-a100-03.example.com``.
    """
    if _FILE.search(text, max(0, len(text) - _LONGEST_END)):
        return True
    parts = [part for part in _MARKS.split(text) if part]
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    return (
        len(parts) > 1
        and letters >= _LEAST_SHARE * (letters + digits)
        and all(map(_PART.fullmatch, parts))
    )


def spec(text: str) -> str:
    """Quote an alias or a device spec that is invalid."""
    return without_odd_values(short(text))


def without_odd_values(text: str) -> str:
    """Mask the values in an alias or a device spec that are no names."""
    return _PIECES.sub(_piece, text)


def _piece(match: re.Match[str]) -> str:
    word = match['word']
    if word is None:
        # A key and its value.
        value = match[0].split(match['quotes'])[-2]
        if value and not is_name(value):
            return match[0].replace(value, MASK)
        return match[0]
    if (
        len(word) <= _HARMLESS_WORD
        or _KNOWN_WORD.fullmatch(word)
        or _is_about_hardware(word)
    ):
        return str(word)
    return MASK


def _is_about_hardware(word: str) -> bool:
    """Return whether a word is a placeholder or from a comment."""
    return len(word) <= LONGEST and all(
        part.lower() in _HARDWARE or _DESIGNATION.fullmatch(part)
        for part in _MARKS_OF_PLACEHOLDERS.split(word)
        if part
    )


def cpus(text: str) -> str:
    """Quote a set of CPUs that is invalid."""
    return _NO_CPUS.sub(MASK, short(text))


def pages(text: str) -> str:
    """Quote a value of ``reserved_huge_pages`` that is invalid."""
    return re.sub(r'[^\s:,]+', _page_word, short(text))


def _page_word(match: re.Match[str]) -> str:
    return match[0] if _PAGES_WORD.fullmatch(match[0]) else MASK


def message(text: str) -> str:
    """Return a message without secrets, and of limited length."""
    # The text that this removes is far from the text that remains.
    text = masked(cut(text, 5 * _LONGEST_MESSAGE))
    if len(text) > LONGEST:
        text = re.sub(r'\S{200,}', lambda match: cut(match[0]), text)
    return cut(text, _LONGEST_MESSAGE)


def finding(text: str) -> str:
    """Return a message about configuration, with only words shown."""
    return _LONG.sub(_long_word, message(text))


def _long_word(match: re.Match[str]) -> str:
    text = match[0]
    if _IDENTIFIER.fullmatch(text):
        return text
    # An escape sequence of Python is part of no name.
    if '\\' in text:
        return MASK
    # It may end the sentence.
    name = text.rstrip('.')
    return text if is_name(text) or is_file_name(name) else MASK


def names(texts: collections.abc.Iterable[str]) -> list[str]:
    """Return names, each of limited length."""
    return [cut(text, 60) for text in texts]
