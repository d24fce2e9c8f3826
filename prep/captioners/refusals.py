"""Detects refusals: answers in which a model declines to describe its input."""

import re

_NOT = r"(?:can(?:no|['’]?)t|can\ not|could(?:\ not|n['’]t)|won['’]?t|will\ not|(?:am|['’]m)\ (?:unable|not\ (?:able|allowed|comfortable|permitted|going))|do\ not|don['’]t)"
_ASKED = (
    r"(?:help|assist|provide|describ|identif|comply|compl|fulfil|creat|generat|writ|process|analy[sz]|answer|caption"
    r"|continu|engag|discuss|do\ (?:that|this)|support|share|produc|offer|give|respond|recogni|comment|mak|complet"
    r"|feel\ comfortable|(?:see|view|access|open|interpret|look\ at|display)\w*\ (?:(?:the|any|this|that|an?|your)\ )?"
    r"(?:\w+\ )?(?:images?|pictures?|photos?|videos?|frames?|content|attachments?|files?))"
)
_REFUSAL = re.compile(
    rf"""(?:
        (?:(?:oh,?\ )?(?:i(?:['’]m|\ am)\ )?(?:(?:so|very|really|deeply|truly)\ )?sorry|(?:my\ )?apologies
          |i\ (?:do\ )?apologi[sz]e|unfortunately|regrettably|i\ regret)
        [^.!?\n]{{0,80}}?\b(?:i|we)\ ?{_NOT}\b
      | (?:i(?:['’]m|\ am)\ (?:(?:so|very|really)\ )?sorry|i\ (?:do\ )?apologi[sz]e)[^\n]{{0,40}}?[.,!;:]\s*
        (?:but|as|because|since)\b[^.!?\n]{{0,80}}?\b(?:image|request|content|guideline|polic)
      | i\ ?{_NOT}\ (?:to\ )?(?:\w+ly\ )?{_ASKED}
      | i\ ?(?:must|have\ to|['’]m\ going\ to\ have\ to|will\ have\ to|['’]ll\ have\ to|need\ to)\ (?:respectfully\ )?
        (?:decline|refuse)
      | as\ an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model|vision[-\ ]language\ model)\b
      | (?:this|the|your)\ (?:request|prompt|image|content)\ (?:violates|goes\ against|(?:may|might)\ violate)\b
      | it\ (?:is|would\ be)\ (?:against|not\ appropriate|inappropriate)\b[^.\n]{{0,60}}\b(?:polic|guideline|to\ describe|for\ me)
      | (?:content\ (?:warning|blocked|filtered)|request\ (?:denied|blocked|refused))\s*[.:!]
      | (?:非常|很|十分)?(?:抱歉|对不起|不好意思)[，,。！!\s]*(?:但是?|我|由于|因为|该|这|作为)[^\n]{{0,40}}?(?:不能|无法|不可以|不便|没有办法)
      | (?:作为(?:一个|一名)?(?:AI|人工智能|语言模型))
      | 我(?:不能|无法|没有办法)(?:提供|协助|帮助|描述|回答|识别|处理|满足|查看|完成|生成)
      | 申し訳(?:ありません|ございません)が?[、,。]
      | (?:죄송하지만|죄송합니다)
      | lo\ siento[,.]?\ (?:pero\ )?no\ puedo
      | (?:je\ suis\ )?(?:vraiment\ )?d[ée]sol[ée]e?[,.]?\ (?:mais\ )?je\ ne\ (?:peux|suis)
      | (?:es\ )?tut\ mir\ leid[,.]?\ (?:aber\ )?(?:ich\ kann|dabei|ich\ darf)
      | (?:desculpe|sinto\ muito)[,.]?\ (?:mas\ )?(?:eu\ )?n[ãa]o\ posso
      | mi\ dispiace[,.]?\ (?:ma\ )?non\ posso
      | (?:извините|простите|к\ сожалению)[^.\n]{{0,40}}?\bя?\ ?не\ (?:могу|можем)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Whether a text begins like a refusal; such a phrase later in the text does not count.

    >>> is_refusal("I'm sorry, but I can't help with identifying people."), is_refusal("Sorry, says the sign.")
    (True, False)
    """
    return _REFUSAL.match(text.strip().lstrip("\"'“‘*_ ")) is not None
