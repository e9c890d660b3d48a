"""Function words, question words and a few very common nouns of English and of languages in Latin script.

Written for edge_app.turns.replies.question_language, which says what they are used for.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = _words("""
    a about above after again all also always am an and another any anyone anything are around as ask at
    away back be because been before being below best better between big both bottom but by bye call can
    cannot change check close color colors colour colours come compare convert correct could count date
    describe did difference different do does doing done down draw during each easy else english enough even
    ever every everyone everything example explain few fewer find first fix for from full get give go going
    good got great had half has have he hello help her here hey hi high him his hold how i idea if image
    images in inside instead into is it its just keep kind know language large largest last least left less
    let like list little long look looks lot made main make many may me mean meaning means might more most
    much must my name near need never new next nice no nobody none not nothing now number of off old on once
    one only or other our out outside over own part people person photo photos picture pictures place play
    please possible put read really recipe right same say second see seen sentence set shall she should show
    shows small so some someone something spell start still stop such summarise summarize sure take tell
    text than thank thanks that the their them then there these they thing things think this those three
    through time to today together tomorrow too top total translate translation try turn two type under
    understand until up us use used using very want was way we well were what when where which while who
    whom whose why will with without word words work would write wrong year years yes yesterday yet you your
    difficult rhyme poem story code price cost taken taking brand model s t re ve ll d m don doesn didn isn
    aren wasn won
""")
"""English, with what is left of contractions without their apostrophes."""

FOREIGN = {
    "de": _words("""
        aber alle als am andere auch auf aus bei beim bin bist bitte bis da dabei damit danach dann das dass
        dein dem den denn der des deutsch dich die dies diese diesem diesen dieser dieses dir doch dort drei
        du durch ein eine einem einen einer eines er es etwas euch für ganz geht gehört genau gerade gern
        gestern gewesen gibt gut habe haben hallo hast hat hatte heute hier hoch ich ihm ihn ihr ihre im
        immer ins ist ja jede jeder jetzt kann kannst kein keine können könnte lies machen macht man mehr
        mein meine mich mir mit morgen möchte müssen nach nein nenne nicht nichts noch nun nur ob oder ohne
        schon schreibe sehen sehr sein seine sich sie sind so soll steht stehen über um und uns unser unter
        viel viele vom von vor wann warum was weil welche welchem welchen welcher welches wenn wer werden
        wie wieder wieviel wird wo woher wohin wurde würde wäre zeige zu zum zur zwei zwischen erkläre
        erklären
    """),
    "fr": _words("""
        à ai alors au aucun aussi autre aux avec avez avoir bien bonjour c ce cela ces cet cette chez chose
        combien comme comment d dans de des deux dire dis dit donc donne du écris elle elles en encore est
        et été être eu fait faire faut il ils j je jusque l la le les leur lis lui là ma mais me même merci
        mes moi mon montre n ne ni nos notre nous on ont ou où par pas peu peut peux plus pour pourquoi
        pourrais prise puis qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son
        sont sous suis sur ta te tes toi ton tous tout toute très tu un une va vais vas veux vers voici voit
        vos votre vous vu y a explique
    """),
    "es": _words("""
        a al algo alguien algún ahora aquí así aunque bien buena bueno cada como cómo con cual cuál cuales
        cuando cuándo cuanto cuánto cuánta cuántas cuántos de del desde dice dime donde dónde e el él ella
        ellos en entre era eres es esa ese eso esta está están estas este esto estos explica fue ha hace
        hacer hacia hasta hay he hola la las le lee les lo los más me mi mis mucho muchos muestra muy nada
        ni no nos nosotros o otra otro para pero por porque porqué puede puedes puedo pues que qué quien
        quién quiero se sea ser si sí sido sin sobre solo son soy su sus también tan te tengo tiene tienes
        todo todos tu tú un una uno unos usted va vez y ya yo hará escribe escríbeme gracias favor dos tres
        cuatro foto imagen
    """),
    "it": _words("""
        a ad al alla alle anche ancora è e ed era bene c che chi ci ciao ciò come con cosa così cui da dai
        dal dalla dei del della delle dello di dimmi dove due dopo esse fa fare fino fra gli grazie ha hai
        hanno ho i il in io l la le lei leggi lo loro lui ma mai me mi mia mio molto n ne nei nel nella nell
        nelle no noi non nostra o ogni ora per perché però più poi posso può puoi qual quale quali quando
        quanta quante quanti quanto quella quello questa queste questi questo qui sarà se sei senza si sì
        sia siamo solo sono sopra sta stata stato su sua sul sulla suo te ti tra tu tua tutti tutto un una
        uno va vede voglio vorrei dell all dall sull scrivi scrivimi spiega spiegarmi favore domani oggi ieri mostra
    """),
    "pt": _words("""
        a à ao aos as às até bem boa bom cada com como da das de dela dele depois do dos diga e é ela ele
        eles em entre era essa esse esta está estão este eu explicar explique faz fazer foi há isso isto já
        la leia lhe mais mas me mesmo meu minha mim mostra muito na não nas nem nesta neste nessa nesse no
        nos nossa nosso num numa o obrigado olá onde os ou para pela pelo pode podem por porque porquê posso
        pra qual quais quando quanta quantas quanto quantos que quê quem quer quero se sem ser seu seus sim
        sobre só são sua suas também te tem tenho ter teu tudo um uma vai vê você vocês voce escreva escreve
        alguma favor
    """),
    "pl": _words("""
        aby albo ale bardzo bez być był była było byli bo by chcę ci cię co czego czemu czy czym dla
        dlaczego do dobrze dobry dzień gdy gdzie go i ich ile im ja jak jaka jaki jakie jakiego jakiej jest
        jestem jeszcze jego jej jeśli już każdy kiedy kim kto które który która którego ma mam masz mi mnie
        mogę może można możesz mój moja na nad napisz napisane nas nic nie nim niż o od oraz pan po pod
        podaj pokazuje powiedz proszę prosze przed przez przeczytaj przy są się sobie ta tak tam te tego tej
        ten to tu twój tych tylko tym u w we wiele wszystko wyjaśnić wyjaśnij z za ze zrobić zrobic że
    """),
    "tr": _words("""
        acaba ama ancak ben bana bende beni benim bir biraz biri biz bizim böyle bu buna bunda bunlar bunu
        bunun burada çok daha de değil diye dünyanın en gibi göre göster hangi hangisi hepsi her hiç için
        ile ilk ise işte kadar kaç ki kim kimin lütfen merhaba mi mı mu mü nasıl nasil ne neden nedir nerede
        neresi neresidir niçin niye ol olan olarak oldu olur olacak onu onun orada oku söyle sen seni senin
        şey şimdi şu siz sonra ve var ya yaz yok yazıyor yaziyor yapılır yapilir zaman
    """),
    "ms": _words("""
        ada adalah adakah akan aku anda antara apa apabila apakah atau awak bagaimana baca bacakan bahawa
        banyak belum berapa berapakah bila bilakah boleh bolehkah buat bukan cara dalam dan dapat dari
        daripada dekat dengan di dia hanya ia ialah ini itu jangan jika juga kah kami kamu ke kenapa kepada
        kerana kita lagi lebih macam mana masih mengapa mereka namakan nak oleh orang pada paling perlu pun
        ramai saya sebagai sedang selepas semua seperti siapa siapakah sudah suatu supaya tak telah anjing
        besar cuaca dunia empat esok gambar harga hari jumlah kucing langit makan negara resit terbesar tiga
        warna berwarna yang tentang terangkan terdapat tertulis tetapi tiada tidak tolong tulis untuk
    """),
    "nl": _words("""
        aan als bent ben bij dag dan dat de deze die dit door dus een en er geen geef gaan had hallo hebben
        hebt heeft heel hem het hier hij hoe hoeveel ik is ja jaar je jij jouw kan kun kunnen maar maak meer
        met mij mijn moet na naar niet niets nog nu of om omdat onder ons ook op over schrijf staan staat te
        tot u uit van vertel voor waar waarom wanneer was wat we welk welke werd wie wij wil wordt zal ze
        zich zien zijn zo zonder lees
    """),
    "sv": _words("""
        alla att av bara bra de den denna det detta dig din där efter ej eller en ett finns från för gör ha
        har hej hur här i inte ja jag kan kommer man med men mig min mycket många när nej nu och om på säger
        sig sin ska skriv som står så till tre två under upp ut vad var varför vem vi vilka vilken vilket
        vill vid är än över bilden
    """),
    "id": _words("""
        adalah akan anda apa apakah atau bagaimana bahwa banyak belum berapa bisa bukan cara dalam dan dapat
        dari dengan di gambar harus hal ini itu jangan jelaskan jika juga kamu kapan karena ke kenapa kepada
        kita lebih mana masih mengapa mereka oleh pada paling pukul saja saya sebutkan sebagai semua seperti
        siapa sudah tentang terlihat tetapi tidak tolong tulis tulislah untuk yang anjing besar cuaca besok
        dunia empat foto harga hari jumlah kucing langit makan negara terbesar tiga warna
    """),
    "cs": _words("""
        a aby ale ano bez být byl byla bylo co či do for jak jaká jaké jaký je jeho její jen ještě jsem jsi
        jsou k kde kdo kdy kolik která které který má mám máš mě mi mít může můžeš na nad napiš ne nebo není
        o od po pod podle pokud pro proč prosím při s se si tak také ten tento to této tohle u už v ve více
        vidět z za ze že
    """),
    "ro": _words("""
        acest această aceasta acesta al ale am ar are asta au bună ca câte câți cât cine ce cel cea cu cum
        cuvinte da dacă de decât despre din după e ea ei el este eu face fi fost în îmi îți la le lui mai
        mea meu mi mă nu o pe pentru poate poți prin sau scrie se spune sunt și te tu un una unde unei unui
        va vede vă vreau
    """),
    "vi": _words("""
        bạn bao bằng bị bức các cái cho chưa có của được đã đang đâu đây đi đó gì giờ hãy hình hơn khi không
        là làm lại một mấy này nào năm người nhiêu nhiều như những ở ra rất sao sẽ tại thế thì tôi trên
        trong từ và vào về vì với xin ảnh
    """),
}
"""By ISO 639-1 code of the language."""

PARTICLES = _words("""
    al d da das de del dem den der des di do dos du e el en es i il in l la las le les lo los man s van von
    y
""")
"""Words that stand in names, such as "Rio de la Plata", and single letters."""
