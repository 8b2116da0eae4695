"""English function words, which name no island of a word plot."""

_WORDS = """
a an the this that these those such same other another each every either neither both all any some
many much more most less least few several no none own one ones
i me my myself you your yours yourself yourselves he him his himself she her hers herself it its
itself we us our ours ourselves they them their theirs themselves
who whom whose which what whoever whatever whichever someone somebody something anyone anybody
anything everyone everybody everything nothing
about above across after against along alongside amid among amongst around as at before behind
below beneath beside besides between beyond by despite down during except following for from in
including inside into like near of off on onto out outside over per since than through throughout
till to toward towards under underneath until unto up upon using via versus with within without
and or but nor so yet if unless because although though while whereas whether when whenever where
wherever why how once
be am is are was were been being do does did doing done have has had having can could may might
must shall should will would ought cannot
not also too very just only even still ever never always often again then there here now thus hence
therefore however moreover otherwise rather quite almost already perhaps instead else away back
further
became become becomes
's s n't nt 're 've 'll 'd 'm 't i.e. e.g. ie eg etc
don't doesn't didn't isn't aren't wasn't weren't won't can't couldn't wouldn't shouldn't it's i'm
"""
FUNCTION_WORDS = frozenset(_WORDS.split())
