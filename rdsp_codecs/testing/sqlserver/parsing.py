"""A batch's statements, from its tokens. Statements of T-SQL need no mark between them: where one ends, its neighbour's
first word tells.

`parsed` raises `SqlError` for what is not T-SQL, or not that part of it which is known here.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.sqlserver.lexer import Kind, Token, tokens, unquoted
from rdsp_codecs.testing.sqlserver import statements as s
from rdsp_codecs.testing.sqlserver.declared import read_type_name
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens, syntax_error

_QUERIES: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE", "DROP", "ALTER", "TRUNCATE", "GRANT", "DENY", "DBCC"}
)
_VERBS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
"""What common tables stand in front of."""
_FIRST: Final = frozenset(
    {"SET", "DECLARE", "EXEC", "EXECUTE", "BEGIN", "COMMIT", "ROLLBACK", "SAVE", "IF", "WHILE", "RETURN", "PRINT"}
    | {"RAISERROR", "THROW", "WAITFOR", "USE", "BREAK", "CONTINUE", "REVERT", "KILL"}
    | (_QUERIES - {"WITH"})
)
"""A word of these begins a statement, but for those places that `_continues` knows."""
_CLOSERS: Final = frozenset({"END", "ELSE"})
_NAMES: Final = (Kind.WORD, Kind.QUOTED)
_OUTPUT: Final = ("OUTPUT", "OUT")
_CODE_SHAPES: Final = ("PROCEDURE", "PROC")


def parsed(text: str, *, quoted_identifier: bool = True) -> tuple[s.Statement, ...]:
    """The statements of a batch, a string that is executed, or a procedure's body."""
    them = tuple(tokens(text, quoted_identifier=quoted_identifier))
    if them and them[-1].kind is Kind.FAULT:
        said = them[-1].text
        if said.startswith("/*"):
            raise SqlError(113, "Missing end comment mark '*/'.", severity=15, aborts_batch=True)
        text = f"Unclosed quotation mark after the character string '{said[1:]}'."
        raise SqlError(105, text, severity=15, aborts_batch=True)
    return Parser(text, them).batch()


def parsed_parameters(text: str) -> tuple[s.Variable, ...]:
    """The parameters that sp_executesql and sp_prepare are given as a text: `@a int, @b nvarchar(10) OUTPUT`."""
    parser = Parser(text, tuple(tokens(text)))
    return parser.variables() if parser.more else ()


class Parser:
    """Reads one text. Invariant: what is before `at` is in a statement."""

    def __init__(self, text: str, them: Tokens) -> None:
        self._text = text
        self._tokens = them
        self._at = 0

    # -- tokens

    @property
    def more(self) -> bool:
        """Something is left."""
        return self._at < len(self._tokens)

    @property
    def _key(self) -> str:
        """The next token's, "" at the end. That of a literal or a quoted name is no keyword's."""
        return self._tokens[self._at].key if self.more else ""

    def _ahead(self, by: int) -> str:
        at = self._at + by
        return self._tokens[at].key if at < len(self._tokens) else ""

    def _line(self) -> int:
        return 1 + self._text.count("\n", 0, self._tokens[self._at].at) if self.more else 1

    def _take(self) -> Token:
        if not self.more:
            raise syntax_error(self._tokens[-1].text if self._tokens else "")
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, *keys: str) -> bool:
        if self._key in keys and self._key:
            self._at += 1
            return True
        return False

    def _expect(self, *keys: str) -> None:
        if not self._took(*keys):
            raise syntax_error(self._key or self._tokens[-1].text)

    # -- statements

    def batch(self) -> tuple[s.Statement, ...]:
        """All of them. A batch may begin with a procedure's name."""
        first = self._tokens[0] if self._tokens else None
        found: list[s.Statement] = []
        if first and (first.kind is Kind.QUOTED or (first.kind is Kind.WORD and first.key not in _FIRST | {"WITH"})):
            found.append(self._execute(self._line()))
        found += self._until()
        if self.more:
            raise syntax_error(self._take().text)
        return tuple(found)

    def _until(self, *closers: str) -> tuple[s.Statement, ...]:
        found: list[s.Statement] = []
        while True:
            while self._took(";"):
                pass
            if not self.more or self._key in closers:
                return tuple(found)
            found.append(self._statement())

    def _statement(self) -> s.Statement:
        while self._took(";"):
            pass
        line, key = self._line(), self._key
        if key in _QUERIES:
            return self._query(line)
        read = _READERS.get(key)
        if read is None:
            raise syntax_error(self._take().text)
        self._at += 1
        return read(self, line)

    def _begin(self, line: int) -> s.Statement:
        self._took("DISTRIBUTED")
        if self._key in ("TRAN", "TRANSACTION"):
            return self._transaction(line)
        if self._took("TRY"):
            body = self._until("END")
            for key in ("END", "TRY"):
                self._expect(key)
            while self._took(";"):
                pass
            for key in ("BEGIN", "CATCH"):
                self._expect(key)
            caught = self._until("END")
            for key in ("END", "CATCH"):
                self._expect(key)
            return s.Try(line, body, caught)
        body = self._until("END")
        self._expect("END")
        if not body:
            raise syntax_error("END")
        return s.Block(line, body)

    def _transaction(self, line: int) -> s.Statement:
        verb = self._tokens[self._at - 1].key
        verb = "BEGIN" if verb == "DISTRIBUTED" else verb
        if not self._took("TRAN", "TRANSACTION") and not (
            verb in ("COMMIT", "ROLLBACK") and (self._took("WORK") or True)
        ):
            raise syntax_error(self._key)
        name = ""
        if self.more:
            token = self._tokens[self._at]
            if token.kind is Kind.VARIABLE or (token.kind in _NAMES and token.key not in _FIRST | _CLOSERS | {"WITH"}):
                name = token.text if token.kind is Kind.VARIABLE else unquoted(token)
                self._at += 1
        if self._key == "WITH" and self._ahead(1) in ("MARK", "("):
            self._at += 1
            self._span(stops=())
        if verb == "SAVE" and not name:
            raise syntax_error(self._key or "TRAN")
        return s.Transaction(line, verb, name)

    def _set(self, line: int) -> s.Statement:
        if self.more and self._tokens[self._at].kind is Kind.VARIABLE:
            name = self._take().text
            if self._key in ("+", "-", "*", "/", "%", "&", "|", "^") and self._ahead(1) == "=":
                operator = self._take()
                self._at += 1
                variable = Token(Kind.VARIABLE, name, operator.at, name)
                bracket = Token(Kind.MARK, "(", operator.at, "("), Token(Kind.MARK, ")", operator.at, ")")
                return s.Assign(line, name, (variable, operator, bracket[0], *self._span(), bracket[1]))
            self._expect("=")
            return s.Assign(line, name, self._span())
        names = [self._take().key]
        if names[0] == "TRANSACTION":
            for key in ("ISOLATION", "LEVEL"):
                self._expect(key)
            names = ["ISOLATION"]
        elif names[0] == "STATISTICS":
            names = [f"STATISTICS {self._take().key}"]
        while self._took(","):
            names.append(self._take().key)
        self._took("=")
        value = self._span()
        if not value:
            raise syntax_error(names[-1])
        return s.SetOption(line, tuple(names), value)

    def _declare(self, line: int) -> s.Statement:
        if self._ahead(1) == "TABLE" or (self._ahead(1) == "AS" and self._ahead(2) == "TABLE"):
            name = self._take().text
            self._took("AS")
            self._at += 1
            return s.DeclareTable(line, name, self._span())
        return s.Declare(line, self.variables())

    def variables(self) -> tuple[s.Variable, ...]:
        """`@a int = 1, @b nvarchar(10) OUTPUT`."""
        found: list[s.Variable] = []
        while True:
            name = self._take()
            if name.kind is not Kind.VARIABLE:
                raise syntax_error(name.text)
            self._took("AS")
            info, self._at = read_type_name(self._tokens, self._at)
            value = self._span(stops=(",", "AS", *_OUTPUT)) if self._took("=") else None
            output = self._took(*_OUTPUT)
            self._took("READONLY")
            found.append(s.Variable(name.text, info, value, output))
            if not self._took(","):
                return tuple(found)

    def _execute(self, line: int) -> s.Statement:
        if self._key == "AS" and self._ahead(1) in ("USER", "LOGIN", "CALLER"):
            self._at += 2
            return s.Revert(line, "".join(unquoted(each) for each in self._span() if each.text != "="))
        result = ""
        if self.more and self._tokens[self._at].kind is Kind.VARIABLE and self._ahead(1) == "=":
            result = self._take().text
            self._at += 1
        if self._took("("):
            text = self._span(stops=(")",))
            self._expect(")")
            return s.Execute(line, "", result=result, text=text)
        if self.more and self._tokens[self._at].kind is Kind.VARIABLE:
            procedure = self._take().text
        else:
            procedure = ".".join(unquoted(part) for part in self.name() if part.text != ".")
        found: list[s.Argument] = []
        while self.more and self._key != ";" and self._key not in _FIRST | _CLOSERS | {"WITH"}:
            name = ""
            if self._tokens[self._at].kind is Kind.VARIABLE and self._ahead(1) == "=":
                name = self._take().text
                self._at += 1
            value = self._span(stops=(",", *_OUTPUT))
            found.append(s.Argument(name, value, self._took(*_OUTPUT)))
            if not value:
                raise syntax_error(self._key)
            if not self._took(","):
                break
        return s.Execute(line, procedure, tuple(found), result)

    def name(self) -> Tokens:
        """A name of several parts, with the dots."""
        found = [self._take()]
        if found[0].kind not in _NAMES and found[0].text != ".":
            raise syntax_error(found[0].text)
        while self._key == "." or found[-1].text == ".":
            found.append(self._take())
        return tuple(found)

    def _if(self, line: int) -> s.Statement:
        condition = self._span(stops=())
        then = self._statement()
        while self._key == ";" and self._ahead(1) == "ELSE":
            self._at += 1
        other = self._statement() if self._took("ELSE") else None
        return s.If(line, condition, then, other)

    def _while(self, line: int) -> s.Statement:
        return s.While(line, self._span(stops=()), self._statement())

    def _jump(self, line: int) -> s.Statement:
        verb = self._tokens[self._at - 1].key
        return s.Jump(line, verb, self._span() if verb == "RETURN" else ())

    def _say(self, line: int) -> s.Statement:
        verb = self._tokens[self._at - 1].key
        bracket = verb == "RAISERROR" and self._took("(")
        found: list[Tokens] = []
        while value := self._span(stops=(",", ")") if bracket else (",",)):
            found.append(value)
            if not self._took(","):
                break
        if bracket:
            self._expect(")")
            if self._took("WITH"):
                self._span()
        return s.Say(line, verb, tuple(found))

    def _wait(self, line: int) -> s.Statement:
        self._expect("DELAY")
        return s.Wait(line, self._span())

    def _use(self, line: int) -> s.Statement:
        return s.Use(line, unquoted(self._take()))

    def _revert(self, line: int) -> s.Statement:
        return s.Revert(line)

    # -- queries

    def _query(self, line: int) -> s.Statement:
        first, second = self._key, self._ahead(1)
        if first in ("CREATE", "ALTER", "DROP") and (second in _CODE_SHAPES or self._ahead(3) in _CODE_SHAPES):
            return self._procedure(line)
        if first == "INSERT" and second == "BULK":
            return self._bulk(line)
        begin, main = self._at, "" if first == "WITH" else first
        seen: set[str] = set()
        depth = cases = 0
        while self.more:
            token = self._tokens[self._at]
            key = token.key
            depth += (key == "(") - (key == ")")
            if depth < 0:
                break
            if depth == 0 and token.kind in (Kind.WORD, Kind.MARK):
                if key == ";" or (key in _CLOSERS and not cases):
                    break
                cases += (key == "CASE") - (key == "END")
                if key in _FIRST and self._at > begin and not self._continues(main, key, seen):
                    break
                main = main or (key if key in _VERBS else "")
                seen.add(key)
            self._at += 1
        return s.Query(line, main or first, self._tokens[begin : self._at])

    def _continues(self, main: str, key: str, seen: set[str]) -> bool:
        """A word that begins a statement does not, here."""
        before = self._ahead(-1)
        if not main:
            return key in _VERBS
        if key == "SELECT":
            body = seen & {"SELECT", "VALUES", "EXEC", "EXECUTE", "DEFAULT"}
            return before in ("UNION", "ALL", "EXCEPT", "INTERSECT", "AS") or (main == "INSERT" and not body)
        if key == "SET":
            return main == "UPDATE" and "SET" not in seen
        if key in ("EXEC", "EXECUTE"):
            return main == "INSERT" and not seen & {"SELECT", "VALUES", "EXEC", "EXECUTE", "DEFAULT"}
        if key in ("UPDATE", "DELETE"):
            return before in ("ON", "FOR", ",") and main in ("CREATE", "ALTER", "SELECT")
        if key == "IF":
            return main == "DROP" and self._ahead(1) == "EXISTS"
        return main == "ALTER" and key in ("DROP", "ALTER") and "TABLE" in seen

    def _procedure(self, line: int) -> s.Statement:
        drops = self._take().key == "DROP"
        while not self._took(*_CODE_SHAPES):
            self._at += 1
        if drops:
            lenient = self._took("IF")
            self._took("EXISTS")
            return s.DropProcedure(line, self.name(), lenient)
        name = self.name()
        bracket = self._took("(")
        variables = self.variables() if self.more and self._tokens[self._at].kind is Kind.VARIABLE else ()
        if bracket:
            self._expect(")")
        while self._key != "AS":
            self._take()
        begin = self._take().end
        self._at = len(self._tokens)
        body = self._text[begin:]
        Parser(body, tuple(tokens(body))).batch()
        return s.CreateProcedure(line, name, variables, body)

    def _bulk(self, line: int) -> s.Statement:
        self._at += 2
        table = self.name()
        self._expect("(")
        found = []
        while True:
            column = unquoted(self._take())
            info, self._at = read_type_name(self._tokens, self._at)
            found.append((column, info))
            self._span(stops=(",", ")"))
            if not self._took(","):
                break
        self._expect(")")
        if self._took("WITH"):
            self._span()
        return s.InsertBulk(line, table, tuple(found))

    def _span(self, stops: tuple[str, ...] = (",",)) -> Tokens:
        """An expression: up to one of `stops`, a mark or a word outside of brackets that ends it, or the end."""
        begin, depth, cases = self._at, 0, 0
        while self.more:
            token = self._tokens[self._at]
            key = token.key
            if depth == 0 and token.kind in (Kind.WORD, Kind.MARK):
                if key in stops or key == ";" or key == ")":
                    break
                if key == "CASE":
                    cases += 1
                elif cases:
                    cases -= key == "END"
                elif key in _FIRST or key in _CLOSERS:
                    break
            depth += (key == "(") - (key == ")")
            self._at += 1
        return self._tokens[begin : self._at]


_READERS: Final = {
    "BEGIN": Parser._begin,
    "COMMIT": Parser._transaction,
    "ROLLBACK": Parser._transaction,
    "SAVE": Parser._transaction,
    "SET": Parser._set,
    "DECLARE": Parser._declare,
    "EXEC": Parser._execute,
    "EXECUTE": Parser._execute,
    "IF": Parser._if,
    "WHILE": Parser._while,
    "RETURN": Parser._jump,
    "BREAK": Parser._jump,
    "CONTINUE": Parser._jump,
    "PRINT": Parser._say,
    "RAISERROR": Parser._say,
    "THROW": Parser._say,
    "WAITFOR": Parser._wait,
    "USE": Parser._use,
    "REVERT": Parser._revert,
}
